package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// till is a table of refunds, and stock movements in partitions.
const till = shop + `
	CREATE TABLE refunds (id int PRIMARY KEY, order_id int, amount numeric(12,2), note text);
	CREATE TABLE moves (day date, sku text, at timestamptz, by int, PRIMARY KEY (day, sku, at)) PARTITION BY RANGE (day);
	CREATE TABLE moves_2025 PARTITION OF moves FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
	CREATE TABLE moves_2026 (by int, at timestamptz NOT NULL, sku text NOT NULL, day date NOT NULL, PRIMARY KEY (day, sku, at));
	ALTER TABLE moves ATTACH PARTITION moves_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');`

// guarded is a configuration with guards on both.
func (d *database) guarded() Config {
	cfg := d.config()
	cfg.Guards = []Guard{
		{Name: "large refund", Table: "public.refunds", Operations: []string{"insert", "update"}, When: "NEW.amount > 100 -- in the currency of the order",
			Action: "refund", Show: []string{"order_id", "amount", "note"}, Require: Requirement{ReasonCode: []string{"damaged", "lost"}, ReasonNote: 10}},
		{Name: "write-down", Table: "public.moves", Operations: []string{"insert", "update"}, When: "NEW.by < -10", Require: Requirement{ReasonCode: []string{"*"}}},
		{Name: "delete order", Table: "public.orders", Operations: []string{"delete"}, When: "OLD.note <> ''",
			Require: Requirement{Actor: true, ActorRole: []string{"manager", "finance"}, MFAWithin: 15 * time.Minute}},
		{Name: "empty", Table: "public.moves", Operations: []string{"truncate"}, Require: Requirement{Actor: true}},
	}
	return cfg
}

// refused runs statements over a connection of its own, of which the last must
// be refused by a guard, and returns what the client is told.
func (d *database) refused(statements ...string) *pgconn.PgError {
	d.t.Helper()
	conn := d.connect(d.dsn)
	defer conn.Close(context.Background())
	last := len(statements) - 1
	d.execOn(conn, statements[:last]...)
	_, err := conn.Exec(context.Background(), statements[last], pgx.QueryExecModeSimpleProtocol)
	var said *pgconn.PgError
	if !errors.As(err, &said) || said.Code[:2] != "PW" {
		d.t.Fatalf("%s: %v, want an error of class PW", statements[last], err)
	}
	return said
}

// attempts reads the slot, in which there must be refused attempts and nothing
// else.
func (d *database) attempts() []string {
	d.t.Helper()
	d.exec("UPDATE customers SET name = 'flush' WHERE id = 1") // a commit behind it, with which the log is flushed
	lines := d.log()
	var attempts []string
	for _, line := range lines[:len(lines)-2] {
		kind, payload, _ := strings.Cut(line, " ")
		var p struct {
			E struct {
				Action, Schema, Table string
				ResourceID            string `json:"resource_id"`
				Details               json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(payload), &p); err != nil || kind != "R1" {
			d.t.Errorf("instead of a refused attempt the log has %s (%v)", line, err)
		}
		attempts = append(attempts, strings.Join([]string{p.E.Action, p.E.Schema + "." + p.E.Table, p.E.ResourceID, string(p.E.Details)}, " "))
	}
	return attempts
}

func guardRefuses(t *testing.T, d *database) {
	d.exec(till)
	cfg := d.guarded()
	cfg.Presets = []string{"hasura"}
	d.setup(cfg)
	d.exec("INSERT INTO customers VALUES (1, '')", "INSERT INTO orders VALUES (1, 1, 'kept'), (2, 1, ''), (3, 1, 'kept')",
		"INSERT INTO refunds VALUES (1, 7, 100, ''), (2, 7, 50, '')", "INSERT INTO moves VALUES ('2025-06-01', 'A/1', '2025-06-01 12:00+02', -10)")
	d.log()

	said := d.refused("INSERT INTO refunds VALUES (3, 8, 100.01, 'x')")
	told := []string{said.Code, said.Message, said.Detail, said.Hint, said.ConstraintName, said.TableName}
	if diff := cmp.Diff([]string{"PW001",
		`guard "large refund": insert on public.refunds needs a reason code out of damaged, lost, a reason note of at least 10 characters`,
		"The attempt is recorded in the audit trail.",
		"Set in the same transaction: audit.reason_code to the reason, one of damaged, lost; audit.reason_note to an explanation. For example: SELECT set_config('audit.reason_code', '...', true)",
		"large refund", "refunds"}, told); diff != "" {
		t.Errorf("the client is told (-want +got):\n%s", diff)
	}
	want(t, d.attempts(), `refund public.refunds 3 {"guard" : "large refund", "operation" : "insert", "missing" : ["reason_code","reason_note"], "row" : {"order_id":"8","amount":"100.01","note":"x"}}`)

	// Every other way of writing, and what is said but is not enough.
	for _, c := range []struct {
		code       string
		statements []string
	}{
		{"PW001", []string{"UPDATE refunds SET amount = 200 WHERE id = 1"}},
		{"PW001", []string{"INSERT INTO refunds VALUES (1, 7, 5, '') ON CONFLICT (id) DO UPDATE SET amount = 500"}},
		{"PW001", []string{"SET session_replication_role = replica", "UPDATE refunds SET amount = 200 WHERE id = 1"}},
		{"PW001", []string{"BEGIN; SET LOCAL audit.reason_code = 'because'; SET LOCAL audit.reason_note = 'a long explanation'", "UPDATE refunds SET amount = 200 WHERE id = 1"}},
		{"PW001", []string{"BEGIN; SET LOCAL audit.reason_code = 'lost'; SET LOCAL audit.reason_note = '    short    '", "UPDATE refunds SET amount = 200 WHERE id = 1"}},
		{"PW001", []string{`BEGIN; SET LOCAL audit.context = '{"reason_code": {"lost": 1}'`, "UPDATE refunds SET amount = 200 WHERE id = 1"}},
		{"PW001", []string{"INSERT INTO moves VALUES ('2025-06-02', 'A', now(), -11)"}},
		{"PW001", []string{"INSERT INTO moves_2026 VALUES (-11, now(), 'A', '2026-06-02')"}},
		{"PW001", []string{"UPDATE moves SET by = -11, day = '2026-06-01'"}}, // moves to the other partition
		{"PW001", []string{"UPDATE moves SET by = -11"}},
		{"PW003", []string{"DELETE FROM orders WHERE id = 1"}},
		{"PW003", []string{"DELETE FROM customers WHERE id = 1"}}, // a cascade is no way around
		{"PW003", []string{"SET audit.actor_id = 'm'", "SET audit.actor_role = 'clerk'", "DELETE FROM orders"}},
		{"PW002", []string{"SET audit.actor_id = 'm'", "SET audit.actor_role = 'manager'", "DELETE FROM orders"}},
		{"PW002", []string{"SET audit.actor_id = 'm'", "SET audit.actor_role = 'manager'", "SET audit.mfa_at = '2020-01-01T00:00:00Z'", "DELETE FROM orders"}},
		{"PW002", []string{"SET audit.actor_id = 'm'", "SET audit.actor_role = 'manager'", "SET audit.mfa_at = 'now'", "DELETE FROM orders"}},
		{"PW002", []string{`SET hasura."user" = '{"x-hasura-user-id": "42", "x-hasura-role": "manager"}'`, "DELETE FROM orders"}},
		{"PW002", []string{"SET audit.actor_id = 'm'", "SET audit.actor_role = 'manager'", "SELECT set_config('audit.mfa_at', (extract(epoch FROM now()) + 3600)::text, false)", "DELETE FROM orders"}},
		{"PW003", []string{"TRUNCATE moves"}},
		{"PW003", []string{"TRUNCATE moves_2026"}},
	} {
		if said := d.refused(c.statements...); said.Code != c.code || said.Hint == "" {
			t.Errorf("%s: %s %s, want %s", c.statements, said.Code, said.Message, c.code)
		}
	}
	got := d.attempts()
	if len(got) != 20 {
		t.Errorf("%d attempts were recorded, want 20:\n%s", len(got), strings.Join(got, "\n"))
	}
	want(t, []string{got[8], got[9]},
		`create public.moves_2025 2026-06-01/A%2F1/2025-06-01 10:00:00+00 {"guard" : "write-down", "operation" : "update", "missing" : ["reason_code"], "row" : {}}`,
		`create public.moves_2025 2025-06-01/A%2F1/2025-06-01 10:00:00+00 {"guard" : "write-down", "operation" : "update", "missing" : ["reason_code"], "row" : {}}`)

	// In COPY, and caught by the application: the transaction goes on without it.
	if _, err := d.conn.CopyFrom(context.Background(), pgx.Identifier{"refunds"}, []string{"id", "amount"}, pgx.CopyFromRows([][]any{{10, 5}, {11, 500}})); err == nil {
		t.Error("COPY went past the guard")
	}
	d.exec("BEGIN", "SAVEPOINT s")
	if _, err := d.conn.Exec(context.Background(), "UPDATE refunds SET amount = 900 WHERE id = 2"); err == nil {
		t.Error("no guard in a savepoint")
	}
	d.exec("ROLLBACK TO s", "UPDATE refunds SET amount = 90 WHERE id = 2", "COMMIT")
	d.exec("UPDATE customers SET name = 'flush' WHERE id = 1")
	want(t, fields(d.log()), "R1", "R1", "S1", "update refunds", "S1", "update customers")

	// With what is required, everything passes, and nothing is said of it.
	d.exec("BEGIN; SET LOCAL audit.reason_code = 'lost'; SET LOCAL audit.reason_note = 'parcel 4711 never came'", "UPDATE refunds SET amount = 200 WHERE id = 1", "COMMIT",
		`BEGIN; SET LOCAL audit.context = '{"reason_code": "damaged", "reason_note": "the glass was broken"}'`, "INSERT INTO refunds VALUES (4, 7, 1000, '')", "UPDATE moves SET by = -99", "COMMIT",
		"BEGIN; SET LOCAL audit.actor_id = 'm'; SET LOCAL audit.actor_role = 'finance'; SELECT set_config('audit.mfa_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), true)",
		"DELETE FROM orders WHERE id = 1", "TRUNCATE moves", "COMMIT",
		`BEGIN; SET LOCAL hasura."user" = '{"x-hasura-user-id": "42", "x-hasura-role": "manager"}'; SELECT set_config('audit.mfa_at', extract(epoch FROM now())::text, true)`,
		"DELETE FROM orders WHERE id = 3", "COMMIT", "DELETE FROM orders")
	for _, line := range d.log() {
		if strings.HasPrefix(line, "R1") {
			t.Errorf("refused: %s", line)
		}
	}
}

func guardLifecycle(t *testing.T, d *database) {
	d.exec(till)
	cfg := d.guarded()
	before := d.catalogs(false)
	if plan := d.prepare(cfg).String(); !strings.Contains(plan, "WHEN (\nNEW.amount > 100 -- in the currency of the order\n) EXECUTE FUNCTION pgwitness.guard(") {
		t.Errorf("the script does not show the guard:\n%s", plan)
	}
	if diff := cmp.Diff(before, d.catalogs(false)); diff != "" {
		t.Errorf("preparing changed the catalogs:\n%s", diff)
	}
	d.setup(cfg)
	whole := d.catalogs(true)
	if plan := d.prepare(cfg); !plan.Empty() {
		t.Errorf("a second setup has something to do:\n%s", plan)
	}
	if failed := d.failures(cfg); len(failed) > 0 {
		t.Errorf("after setup check fails: %v", failed)
	}
	d.setup(cfg)
	if diff := cmp.Diff(whole, d.catalogs(true)); diff != "" {
		t.Errorf("a second setup changed the catalogs:\n%s", diff)
	}

	// New partitions are guarded by themselves, except against TRUNCATE.
	d.exec("CREATE TABLE moves_2027 PARTITION OF moves FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')")
	d.refused("INSERT INTO moves_2027 VALUES ('2027-06-02', 'A', now(), -11)")
	d.setup(cfg)
	d.refused("TRUNCATE moves_2027")
	d.log()

	// What somebody did to a guard is found, and mended by the next setup.
	for _, tamper := range []string{
		"ALTER TABLE refunds ENABLE TRIGGER pgwitness_guard_large_refund",
		"CREATE OR REPLACE TRIGGER pgwitness_guard_large_refund AFTER INSERT OR UPDATE ON refunds FOR EACH ROW WHEN (NEW.amount > 1e6)" +
			" EXECUTE FUNCTION pgwitness.guard('{}'); ALTER TABLE refunds ENABLE ALWAYS TRIGGER pgwitness_guard_large_refund",
		"DROP TRIGGER pgwitness_guard_large_refund ON refunds",
	} {
		d.exec(tamper)
		if f := d.find(cfg, "guards")["large refund on public.refunds"]; f.Severity != audit.Failure || f.Fix != setupVerb {
			t.Errorf("%s: finding %+v", tamper, f)
		}
	}
	d.setup(cfg)
	d.refused("INSERT INTO refunds VALUES (3, 8, 100.01, 'x')")
	d.exec("ALTER TABLE moves_2025 DISABLE TRIGGER pgwitness_guard_write_down")
	if f := d.find(cfg, "guards")["write-down on public.moves"]; f.Severity != audit.Failure {
		t.Errorf("disabled on a partition: finding %+v", f)
	}
	d.setup(cfg)
	if failed := d.failures(cfg); len(failed) > 0 {
		t.Errorf("mended, and check fails: %v", failed)
	}
	d.log()

	// Changed, and taken out.
	cfg.Guards[0].When = "NEW.amount > 300"
	cfg.Guards = append(cfg.Guards[:1:1], cfg.Guards[2:]...)
	d.setup(cfg)
	want(t, changes(d.log()), "large refund replaced", "pgwitness_guard_write_down removed", "pgwitness_guard_write_down_move removed")
	d.exec("INSERT INTO refunds VALUES (5, 8, 300, '')", "INSERT INTO moves VALUES ('2025-06-02', 'A', now(), -11)")
	d.refused("INSERT INTO refunds VALUES (6, 8, 301, '')")
	d.teardown(cfg)
	d.exec("INSERT INTO refunds VALUES (6, 8, 301, '')", "DROP TABLE moves_2027")
	if got := d.value("SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE 'pgwitness%'"); got != "0" {
		t.Errorf("teardown left %s triggers", got)
	}
}

// changes tells the events guard_changed of the log.
func changes(lines []string) []string {
	var all []string
	for _, line := range lines {
		var p struct {
			E struct {
				Action     string
				ResourceID string `json:"resource_id"`
				Details    struct{ Change string }
			}
		}
		if kind, payload, _ := strings.Cut(line, " "); kind == "E1" && json.Unmarshal([]byte(payload), &p) == nil && p.E.Action == "guard_changed" {
			all = append(all, p.E.ResourceID+" "+p.E.Details.Change)
		}
	}
	return all
}

// guardMistakes: a guard that PostgreSQL does not understand is refused with
// its place, before anything is installed.
func guardMistakes(t *testing.T, d *database) {
	if d.major != 14 && d.major != 18 {
		return // the oldest and the newest will do
	}
	d.exec(till)
	before := d.catalogs(false)
	for _, c := range []struct {
		guard     Guard
		key, said string
	}{
		{Guard{When: "NEW.amount >"}, "when", "syntax error"},
		{Guard{When: "NEW.amuont > 100"}, "when", "amuont"},
		{Guard{When: "NEW.amount"}, "when", "boolean"},
		{Guard{When: "NEW.amount > OLD.amount"}, "when", "OLD"},
		{Guard{When: "NEW.amount > (SELECT avg(amount) FROM public.refunds)"}, "when", "subquer"},
		{Guard{When: "is_large(NEW.amount)"}, "when", "is_large"},
		{Guard{When: "true) EXECUTE FUNCTION pg_temp.guard(); CREATE TRIGGER t BEFORE INSERT ON pg_temp.pgwitness_probe FOR EACH ROW WHEN (true"}, "when", "multiple commands"},
		{Guard{Table: "public.nothing"}, "table", "not audited"},
		{Guard{Show: []string{"amuont"}}, "show", "amuont"},
	} {
		cfg, g := d.config(), c.guard
		g.Name, g.Operations, g.Require = "a guard", []string{"insert"}, Requirement{Actor: true}
		if g.Table == "" {
			g.Table = "public.refunds"
		}
		cfg.Guards = []Guard{d.guarded().Guards[0], g}
		_, err := Prepare(context.Background(), cfg)
		var problem *GuardError
		if !errors.As(err, &problem) || problem.Index != 1 || problem.Key != c.key || !strings.Contains(err.Error(), c.said) || audit.Hint(err) == "" {
			t.Errorf("%+v: %v, hint %q", c.guard, err, audit.Hint(err))
		}
	}
	if diff := cmp.Diff(before, d.catalogs(false)); diff != "" {
		t.Errorf("something was installed:\n%s", diff)
	}
}

// olderEvent: an event() of an older version goes when the new one comes, so
// that a call stays unambiguous.
func olderEvent(t *testing.T, d *database) {
	d.stamped()
	d.exec("DROP FUNCTION pgwitness.event",
		"CREATE FUNCTION pgwitness.event(action text, resource_type text DEFAULT NULL) RETURNS void LANGUAGE sql AS 'SELECT'")
	cfg := d.config()
	cfg.DDL = DDLOff
	if got := d.failures(cfg); len(got) != 1 || got[0] != "functions: pgwitness.event" {
		t.Errorf("check fails: %v", got)
	}
	d.setup(d.config())
	if got := d.value("SELECT count(*)::text FROM pg_proc WHERE proname = 'event' AND pronamespace = 'pgwitness'::regnamespace"); got != "1" {
		t.Errorf("%s functions of that name", got)
	}
	if plan := d.prepare(d.config()); !plan.Empty() {
		t.Errorf("a second setup has something to do:\n%s", plan)
	}
	want(t, changesOf(d.log()), "setup <nil> <nil> <nil> <nil> <nil>") // the trail is told of the second setup
	d.exec("SELECT pgwitness.event('login', 'user', actor_id => 'alice', ip_address => '203.0.113.9', user_agent => 'curl', api_key_id => 'k', on_behalf_of => 'bob')")
	want(t, changesOf(d.log()), "login alice 203.0.113.9 curl k bob")
}

func changesOf(lines []string) []string {
	var all []string
	for _, line := range lines {
		var p struct{ E map[string]any }
		if kind, payload, _ := strings.Cut(line, " "); kind == "E1" && json.Unmarshal([]byte(payload), &p) == nil {
			all = append(all, fmt.Sprint(p.E["action"], " ", p.E["actor_id"], " ", p.E["ip_address"], " ", p.E["user_agent"], " ", p.E["api_key_id"], " ", p.E["on_behalf_of"]))
		}
	}
	return all
}

// secretColumns: one that is not there is a mistake that would let another in.
func secretColumns(t *testing.T, d *database) {
	d.exec(shop)
	cfg := d.config()
	cfg.Tables = append(cfg.Tables, Table{Name: "public.customers", Secret: []string{"nmae"}})
	_, err := Prepare(context.Background(), cfg)
	var missing *MissingColumnError
	if !errors.As(err, &missing) || missing.Index != 1 || audit.Hint(err) == "" {
		t.Errorf("error %v", err)
	}
	cfg.Tables[1].Secret[0] = "name"
	d.setup(cfg)
	if f := d.find(cfg, "secret_columns")[""]; f.Severity != audit.OK {
		t.Errorf("finding %+v", f)
	}
	d.exec("ALTER TABLE customers RENAME name TO called")
	if f := d.find(cfg, "secret_columns")["public.customers"]; f.Severity != audit.Failure {
		t.Errorf("finding %+v", f)
	}
}

// hostileGuard: whatever a client has made or set, the guard neither runs it
// nor is put off by it.
func hostileGuard(t *testing.T, d *database) {
	if d.major != 14 && d.major != 18 {
		return // the oldest and the newest will do
	}
	d.exec(till, "CREATE SCHEMA evil", "CREATE TABLE evil.caught (what text)",
		"CREATE TYPE evil.colour AS ENUM ('red')", "ALTER TABLE refunds ADD COLUMN colour evil.colour DEFAULT 'red'",
		"CREATE FUNCTION evil.told(evil.colour) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.caught VALUES ('cast'); RETURN 'x'; END $$",
		"CREATE CAST (evil.colour AS text) WITH FUNCTION evil.told(evil.colour) AS IMPLICIT",
		"CREATE FUNCTION evil.told_json(evil.colour) RETURNS json LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.caught VALUES ('json'); RETURN '1'; END $$",
		"CREATE CAST (evil.colour AS json) WITH FUNCTION evil.told_json(evil.colour) AS IMPLICIT")
	cfg := d.guarded()
	cfg.Guards[0].Show, cfg.DDL = []string{"colour", "amount"}, DDLOff
	d.setup(cfg)
	d.exec("INSERT INTO customers VALUES (1, '')")
	trap := func(name, arguments, returns, value string) {
		d.exec(fmt.Sprintf(`CREATE FUNCTION evil.%[1]s(%[2]s) RETURNS %[3]s LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO evil.caught VALUES ('%[1]s'); RETURN %[4]s; END $$`, name, arguments, returns, value))
	}
	trap("claim", "text", "text", "'lost'")
	trap("cardinality", "anyarray", "integer", "0")
	trap("format", "text, text", "text", "'x'")
	trap("format", "text, integer", "text", "'x'")
	trap("clock_timestamp", "", "timestamptz", "'2020-01-01'")
	trap("current_setting", "text, boolean", "text", "'lost'")
	trap("has", "jsonb, text", "boolean", "true")
	d.exec("CREATE OPERATOR evil.? (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = evil.has)",
		// A function of the row by the name of a column that is not there.
		"CREATE FUNCTION evil.amount(refunds) RETURNS numeric LANGUAGE sql AS 'SELECT 0.0'")
	d.log()
	for _, setting := range []string{
		"SET search_path = evil, pg_catalog, public", "SET search_path = ''", "SET plpgsql.variable_conflict = use_column", "SET plpgsql.extra_errors = 'all'",
		"SET DateStyle = german", "SET bytea_output = escape", "SET standard_conforming_strings = off", "SET audit.context = '[1, 2]'", `SET audit.context = '"reason_code"'`,
		`SET audit.context = '{"reason_code": "lost", "reason_note": null}'`, "SET check_function_bodies = off", "SET default_transaction_isolation = serializable",
		"SET transform_null_equals = on", "SET client_min_messages = error", "SET row_security = off", `SET audit.reason_code = '*'`, "SET audit.reason_note = E'\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n'",
	} {
		d.refused(setting, "INSERT INTO public.refunds VALUES (3, 8, 100.01, E'*/ \" \\' \\\\')")
		attempts := d.attempts()
		if len(attempts) != 1 || !strings.Contains(attempts[0], `"row" : {"colour":"red","amount":"100.01"}`) {
			t.Errorf("%s: recorded %q", setting, attempts)
		}
	}
	if got := d.value("SELECT string_agg(DISTINCT what, ', ') FROM evil.caught"); got != "" {
		t.Errorf("the guard ran what a client made: %s", got)
	}
	// Without its columns the attempt is recorded all the same; without the keys it is still refused.
	d.exec("ALTER TABLE refunds DROP COLUMN colour")
	d.refused("INSERT INTO public.refunds VALUES (3, 8, 100.01)")
	if attempts := d.attempts(); len(attempts) != 1 || strings.Contains(attempts[0], "colour") {
		t.Errorf("recorded %q", attempts)
	}
	d.exec("DELETE FROM pgwitness.secret")
	d.refused("INSERT INTO public.refunds VALUES (3, 8, 100.01)")
}
