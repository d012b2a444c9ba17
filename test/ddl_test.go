package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
)

// entryOf waits for the newest entry of an action on a resource and returns its
// details.
func (s *sidecar) entryOf(action, resource string) string {
	s.t.Helper()
	where := fmt.Sprintf(" FROM audit_logs WHERE action = '%s' AND concat(ifNull(resource_type, ''), ' ', ifNull(resource_id, '')) = '%s'",
		action, strings.ReplaceAll(resource, "'", `\'`))
	s.eventually("SELECT count() > 0"+where, "1")
	return s.query("SELECT argMax(assumeNotNull(new_values), sequence)" + where)
}

// tells checks that the details of an entry contain each of texts.
func (s *sidecar) tells(action, resource string, texts ...string) {
	s.t.Helper()
	got := strings.ReplaceAll(s.entryOf(action, resource), `": `, `":`) // events are jsonb
	for _, text := range texts {
		if !strings.Contains(got, text) {
			s.t.Errorf("%s of %s does not say %s: %s", action, resource, text, got)
		}
	}
}

// act is something done against the auditor, the resource that its alarm names,
// and what the alarm says.
type act struct{ do, resource, says string }

// alarms does each act and waits for its alarm before the next.
func (s *sidecar) alarms(acts ...act) {
	s.t.Helper()
	for _, a := range acts {
		s.pg.Exec(a.do)
		s.eventually(fmt.Sprintf("SELECT count() > 0 FROM audit_logs WHERE action = 'audit_tampered' AND concat(ifNull(resource_type, ''), ' ', ifNull(resource_id, '')) = '%s' AND new_values LIKE '%%%s%%'",
			a.resource, a.says), "1")
	}
}

// Cases 13 and 14: what is done to the database itself, and to the auditor, is in
// the trail.
func TestDDL(t *testing.T) {
	pg := harness.Postgres(t)
	s := newWatched(t, pg, "ddl")
	s.eventually("SELECT count() FROM audit_logs WHERE action = 'role_changed'", "1") // recorded for the first time
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *sidecar)
	}{
		{"case14_ddl_and_privileges", caseDDLAndPrivileges},
		{"case14_roles", caseRoles},
		{"case14_acts_against_the_auditor", caseActsAgainstTheAuditor},
		{"case13_new_tables_are_followed", caseNewTables},
		{"case13_fold_through_ddl", caseFoldThroughDDL},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer s.under(t)()
			c.run(t, s)
		})
	}
	s.verified()
	s.stop()
}

func caseDDLAndPrivileges(t *testing.T, s *sidecar) {
	s.pg.Exec("SELECT set_config('audit.actor_id', 'dba-ada', false), set_config('audit.reason_code', 'ticket-7', false)")
	s.pg.Exec("CREATE VIEW open_orders AS SELECT id FROM orders WHERE status = 'open' /* application='psql' */")
	s.pg.Exec("RESET audit.actor_id; RESET audit.reason_code")
	s.pg.Exec("GRANT SELECT ON orders TO PUBLIC")
	s.pg.Exec("REVOKE SELECT ON orders FROM PUBLIC")
	s.pg.Exec("CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far FOREIGN DATA WRAPPER nothing OPTIONS (host 'h', password 'hunter2')")
	s.pg.Exec("BEGIN; CREATE VIEW never AS SELECT 1; ROLLBACK")
	s.pg.Exec("DROP VIEW open_orders")
	s.sync(time.Minute)
	s.tells("ddl", "db.view public.open_orders", `"command":"DROP VIEW"`, `"dropped":true`, `"statement":"DROP VIEW open_orders"`)
	s.tells("grant", "db.table ", `"statement":"GRANT SELECT ON orders TO PUBLIC"`)
	s.tells("revoke", "db.table ", `"command":"REVOKE"`)
	s.tells("ddl", "db.server far", `password '***'`)
	if got := s.query("SELECT concat(actor_id, ' ', reason_code, ' ', operation, ' ', db_user, ' ', assumeNotNull(source)) FROM audit_logs WHERE action = 'ddl' AND resource_id = 'public.open_orders' ORDER BY sequence LIMIT 1"); got != "dba-ada ticket-7 ddl postgres psql" {
		t.Errorf("the view was created by %q", got)
	}
	if got := s.query("SELECT count() FROM audit_logs WHERE new_values LIKE '%hunter2%' OR new_values LIKE '%never%'"); got != "0" {
		t.Errorf("%s entries hold a password, or what was rolled back", got)
	}
	s.prints(0, []string{"trail", "--action", "ddl"}, "DROP VIEW", "public.open_orders")
	s.prints(0, []string{"status"})
}

func caseRoles(t *testing.T, s *sidecar) {
	clerk, group := "clerk_"+s.pg.Database, "group_"+s.pg.Database
	s.pg.Exec("CREATE ROLE " + group + "; CREATE ROLE " + clerk + " LOGIN PASSWORD 'hunter2'")
	t.Cleanup(func() { s.pg.Exec("DROP ROLE IF EXISTS " + clerk + ", " + group) })
	s.tells("role_changed", "db.role "+clerk, `"change":"created"`, `"login"`, `"since"`)
	s.pg.Exec("ALTER ROLE " + clerk + " SUPERUSER; GRANT " + group + " TO " + clerk + " WITH ADMIN OPTION; ALTER ROLE " + clerk + " SET app.secret = 'hunter2'")
	s.eventually("SELECT count() > 0 FROM audit_logs WHERE action = 'role_changed' AND resource_id = '"+clerk+"' AND JSONExtractRaw(assumeNotNull(new_values), 'after') LIKE '%superuser%"+group+" with admin option%'", "1")
	s.tells("role_changed", "db.settings role "+clerk, "app.secret=***")
	s.pg.Exec("DROP ROLE " + clerk)
	s.eventually("SELECT count() FROM audit_logs WHERE action = 'role_changed' AND resource_id = '"+clerk+"' AND new_values LIKE '%dropped%'", "1")
	if got := s.query("SELECT count() FROM audit_logs WHERE new_values LIKE '%hunter2%'"); got != "0" {
		t.Errorf("%s entries hold a password", got)
	}
}

func caseActsAgainstTheAuditor(t *testing.T, s *sidecar) {
	snoop := "snoop_" + s.pg.Database
	s.pg.Exec("CREATE ROLE " + snoop + "; CREATE TABLE doomed (id int)")
	t.Cleanup(func() { s.pg.Exec("DROP OWNED BY " + snoop + "; DROP ROLE " + snoop) })
	alarms := func() string { return s.query("SELECT count() FROM audit_logs WHERE action = 'audit_tampered'") }
	s.alarms(
		act{"ALTER TABLE orders DISABLE TRIGGER pgwitness_stamp", "db.table public.orders", "disabled"},
		act{"DROP TRIGGER pgwitness_stamp ON orders", "db.trigger pgwitness_stamp on public.orders", "stamp trigger"},
		act{"ALTER TABLE orders REPLICA IDENTITY NOTHING", "db.table public.orders", "NOTHING"},
		act{"ALTER PUBLICATION pgwitness_ddl DROP TABLE orders; ALTER TABLE orders SET UNLOGGED", "db.table public.orders", "UNLOGGED"},
		act{"ALTER TABLE orders SET LOGGED; ALTER PUBLICATION pgwitness_ddl SET (publish = 'insert')", "db.publication pgwitness_ddl", "publication"},
		act{"ALTER FUNCTION pgwitness.connection_facts() COST 7", "db.function pgwitness.connection_facts()", "belongs to pgwitness"},
		act{"GRANT SELECT ON pgwitness.secret TO " + snoop, "db.table ", snoop + " has rights to the keys"},
		act{"DROP TABLE doomed", "db.table public.doomed", "dropped"},
		// No event trigger tells of these: the watcher compares the catalog.
		act{"ALTER EVENT TRIGGER pgwitness_ddl DISABLE", "db.event_trigger pgwitness_ddl", "DDL is not recorded"},
		act{"ALTER ROLE " + snoop + " SET session_replication_role = replica", "db.role " + snoop, "session_replication_role=replica"},
		act{"GRANT UPDATE ON pgwitness.secret TO PUBLIC", "db.keys PUBLIC", "rights to the keys"}, // the event trigger is disabled
	)
	if !strings.Contains(s.tail(), "act against the auditor") {
		t.Error("the log says nothing")
	}
	s.prints(7, []string{"status"}, "ALARM", "pgwitness acknowledge")
	s.prints(1, []string{"acknowledge"}, "a reason is missing")
	s.must("setup") // mends everything, and announces itself
	s.pg.Exec("ALTER ROLE " + snoop + " RESET session_replication_role")
	s.eventually("SELECT count() > 0 FROM audit_logs WHERE action = 'role_changed' AND resource_id = 'role "+snoop+"' AND NOT JSONHas(assumeNotNull(new_values), 'after')", "1")
	s.sync(time.Minute)
	n := alarms()
	s.prints(0, []string{"acknowledge", "--reason", "an exercise", "--operator", "ada@example.com"}, n+" acts")
	s.sync(time.Minute)
	s.prints(0, []string{"status"})
	s.pg.Exec("INSERT INTO orders VALUES (50, 'mended')")
	s.sync(time.Minute)
	if got := s.query("SELECT db_user FROM audit_logs WHERE new_values LIKE '%mended%' AND table_name = 'orders'"); got != "postgres" {
		t.Errorf("after setup a row is of %q", got)
	}
	if got := alarms(); got != n {
		t.Errorf("%s alarms, %s before setup mended what was broken", got, n)
	}
}

// What comes after setup is captured from its first row on, and that is no edit
// of the publication that could hide anything.
func caseNewTables(t *testing.T, s *sidecar) {
	hidden := "SELECT count() FROM audit_logs WHERE action = 'publication_changed' AND JSONExtractBool(assumeNotNull(new_values), 'changes_may_be_missing')"
	before := s.query(hidden)
	s.pg.Exec("BEGIN; CREATE TABLE fresh (id int PRIMARY KEY, v text); INSERT INTO fresh VALUES (1, 'a'), (2, 'b'); COMMIT")
	s.pg.Exec("UPDATE fresh SET v = 'c' WHERE id = 2")
	s.pg.Exec("CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); INSERT INTO parts VALUES (1, 'x')")
	s.pg.Exec("CREATE TABLE parts_2 (id int PRIMARY KEY, v text)")
	s.pg.Exec("INSERT INTO parts_2 VALUES (11, 'before'); ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20); INSERT INTO parts VALUES (12, 'within')")
	s.pg.Exec("ALTER TABLE parts DETACH PARTITION parts_2")
	s.pg.Exec("INSERT INTO parts_2 VALUES (13, 'after')")
	s.sync(time.Minute)
	s.tells("ddl", "db.table public.fresh", `"followed":["replica identity","stamps","published"]`)
	s.foldEqualsTables("fresh", "parts_1", "parts_2")
	s.eventually("SELECT count() > 0 FROM audit_logs WHERE action = 'publication_changed' AND new_values LIKE '%public.parts_2%'", "1")
	s.pg.Exec("ALTER TABLE fresh RENAME TO renamed")
	s.eventually("SELECT count() > 0 FROM audit_logs WHERE action = 'publication_changed' AND new_values LIKE '%\"renamed\"%'", "1")
	if after := s.query(hidden); after != before {
		t.Errorf("%s edits of the publication that may hide changes, %s before: %s", after, before,
			s.query("SELECT groupArray(new_values) FROM audit_logs WHERE action = 'publication_changed'"))
	}
}

// What DDL did to rows that no entry tells of is in its own entry, so that the
// fold goes on being the table.
func caseFoldThroughDDL(t *testing.T, s *sidecar) {
	s.pg.Exec("CREATE TABLE shaped (id int PRIMARY KEY, a text, b text)")
	s.pg.Exec("INSERT INTO shaped VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2')")
	s.pg.Exec("ALTER TABLE shaped ADD c int DEFAULT 7, ADD d text, ADD e boolean DEFAULT true; INSERT INTO shaped VALUES (3, 'a3', 'b3', 8, 'd3', false)")
	s.pg.Exec("ALTER TABLE shaped DROP a; UPDATE shaped SET b = 'B' WHERE id = 1")
	s.pg.Exec("ALTER TABLE shaped RENAME b TO beta; UPDATE shaped SET c = 9, d = 'd2' WHERE id = 2; DELETE FROM shaped WHERE id = 3")
	s.sync(time.Minute)
	s.foldEqualsTables("shaped")
}

// Without event triggers the watcher follows new tables, late, and says so; what
// is done against the auditor is found by comparison.
func TestDDLWithoutEventTriggers(t *testing.T) {
	t.Parallel()
	pg := harness.Postgres(t)
	s := newWatched(t, pg, "late")
	pg.Exec("DROP EVENT TRIGGER pgwitness_ddl; DROP EVENT TRIGGER pgwitness_drop")
	pg.Exec("CREATE TABLE fresh (id int PRIMARY KEY)")
	s.tells("table_followed", "db.table \"public\".\"fresh\"", `"followed":true`, `"changes_may_be_missing":true`)
	pg.Exec("INSERT INTO fresh VALUES (1)")
	s.eventually("SELECT count() FROM audit_logs WHERE table_name = 'fresh'", "1")
	s.alarms(
		act{"ALTER TABLE orders DISABLE TRIGGER pgwitness_stamp", "db.table public.orders", "disabled"},
		act{"ALTER TABLE orders ENABLE ALWAYS TRIGGER pgwitness_stamp; ALTER TABLE fresh DISABLE TRIGGER pgwitness_stamp; ALTER TABLE fresh ENABLE ALWAYS TRIGGER pgwitness_stamp", "db.table public.fresh", "altered back"},
		act{"ALTER FUNCTION pgwitness.stamp() COST 7; ALTER FUNCTION pgwitness.stamp() COST 100", "db.function pgwitness.stamp", "altered"},
		act{"ALTER PUBLICATION pgwitness_late DROP TABLE fresh", "db.publication pgwitness_late", "publication"},
		act{"DROP TABLE fresh", "db.table public.fresh", "dropped"},
	)
	s.prints(7, []string{"status"}, "ALARM")
	s.verified()
	s.stop()
}
