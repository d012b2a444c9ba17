package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// ddlMessage is what the tests read of a message D1.
type ddlMessage struct {
	Actor map[string]string `json:"c"`
	User  string            `json:"u"`
	DDL   struct {
		Tag     string `json:"tag"`
		Err     string `json:"err"`
		Objects []struct {
			Tag, Type, Name, Ext string
			Dropped, Audited     bool
		} `json:"objects"`
		Altered []struct {
			Before, After map[string]any
			Lost          []string
		} `json:"altered"`
		Followed []struct {
			Name, Err string
			Done      []string
		} `json:"followed"`
		Gone      []uint32 `json:"gone"`
		Readers   []string `json:"readers"`
		Statement string   `json:"statement"`
		Length    int      `json:"length"`
	} `json:"ddl"`
}

// messages reads the log on: what each D1 says, and the other lines as they are.
func (d *database) messages() (lines []string, all []ddlMessage) {
	d.t.Helper()
	for _, line := range d.log() {
		text, ok := strings.CutPrefix(line, "D1 ")
		if !ok {
			kind, _, _ := strings.Cut(line, " {")
			lines = append(lines, kind)
			continue
		}
		var m ddlMessage
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			d.t.Fatalf("%v: %s", err, text)
		}
		all = append(all, m)
		said := "D1 " + m.DDL.Tag
		if m.DDL.Err != "" {
			said += " err " + m.DDL.Err
		}
		for _, o := range m.DDL.Objects {
			said += fmt.Sprintf(", %s %s", o.Type, o.Name)
		}
		for _, f := range m.DDL.Followed {
			said += fmt.Sprintf(" [%s: %s%s]", f.Name, strings.Join(f.Done, ", "), f.Err)
		}
		lines = append(lines, said)
	}
	return lines, all
}

// watched is a database with event triggers, whose log was read up to now.
func (d *database) watched(more ...string) {
	d.t.Helper()
	d.exec(append([]string{shop}, more...)...)
	d.setup(d.config())
	d.log()
}

func said(t *testing.T, lines []string, wanted ...string) {
	t.Helper()
	if !slices.Equal(lines, wanted) {
		t.Errorf("the log says\n  %s\nwant\n  %s", strings.Join(lines, "\n  "), strings.Join(wanted, "\n  "))
	}
}

// ddlIsRecorded: case 14. Who, tag, object, statement, in the transaction.
func ddlIsRecorded(t *testing.T, d *database) {
	d.watched()
	d.exec("BEGIN; SET LOCAL audit.actor_id = 'dba'; CREATE VIEW names AS SELECT name FROM customers; COMMIT",
		"CREATE TEMP TABLE scratch (id int); DROP TABLE scratch",
		"BEGIN; CREATE SCHEMA gone; ROLLBACK",
		"GRANT SELECT ON customers TO PUBLIC", "COMMENT ON TABLE orders IS 'x'", "DROP VIEW names",
		"SET session_replication_role = replica", "CREATE SCHEMA replica", "RESET session_replication_role")
	lines, all := d.messages()
	said(t, lines, "D1 CREATE VIEW, view public.names", "D1 GRANT, table ", "D1 COMMENT, table public.orders", "D1 DROP VIEW, view public.names",
		"D1 CREATE SCHEMA, schema replica")
	if m := all[0]; m.Actor["i"] != "dba" || m.User != "postgres" || !strings.Contains(m.DDL.Statement, "CREATE VIEW names AS SELECT name FROM customers") {
		t.Errorf("the view is of %+v", m)
	}
	d.exec("CREATE VIEW long AS SELECT '" + strings.Repeat("x", 9000) + "'::text AS x")
	if _, all = d.messages(); len(all[0].DDL.Statement) != 8192 || all[0].DDL.Length < 9000 {
		t.Errorf("a statement of %d characters was kept with %d", all[0].DDL.Length, len(all[0].DDL.Statement))
	}
	// Many objects: all of them, in messages of bounded size.
	var many strings.Builder
	for i := range 120 {
		fmt.Fprintf(&many, " CREATE VIEW v%d AS SELECT 1 AS one", i)
	}
	d.exec("CREATE SCHEMA many" + many.String())
	d.messages()
	d.exec("DROP SCHEMA many CASCADE")
	lines, all = d.messages()
	if len(all) != 2 || len(all[0].DDL.Objects) != 100 || len(all[1].DDL.Objects) != 21 {
		t.Errorf("121 dropped objects are told by %d messages", len(lines))
	}
}

// ddlOfTables: what an ALTER TABLE changed, with the values that older rows got.
func ddlOfTables(t *testing.T, d *database) {
	d.watched("CREATE TABLE stock (day date, sku int, PRIMARY KEY (day, sku)) PARTITION BY RANGE (day)",
		"CREATE TABLE stock_2026 PARTITION OF stock FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')", "CREATE DOMAIN rank AS int")
	d.exec("SET DateStyle = german", "SET TimeZone = 'Asia/Tokyo'",
		"ALTER TABLE customers ADD since timestamptz DEFAULT '2026-01-02 03:04:05+00', ADD r rank, DROP name",
		"ALTER TABLE orders RENAME note TO remark", "ALTER TABLE orders RENAME TO purchases", "ALTER TABLE purchases ALTER remark TYPE varchar(9)",
		"ALTER TABLE stock ADD qty int DEFAULT 7", "DROP DOMAIN rank CASCADE", "ALTER TABLE purchases DISABLE TRIGGER pgwitness_stamp",
		"ALTER TABLE purchases REPLICA IDENTITY DEFAULT", "CREATE INDEX ON purchases (customer)", "ALTER TABLE customers ADD n int DEFAULT random() * 10")
	_, all := d.messages()
	column := func(table map[string]any, name string) map[string]any {
		for _, c := range table["c"].([]any) {
			if c := c.(map[string]any); c["c"] == name {
				return c
			}
		}
		return nil
	}
	added := all[0].DDL.Altered[0]
	if c := column(added.After, "since"); c["v"] != "2026-01-02 03:04:05+00" || c["y"] != "timestamp with time zone" {
		t.Errorf("since was added as %v", c)
	}
	if column(added.After, "name") != nil || column(added.Before, "name") == nil {
		t.Errorf("name was dropped: %v", added)
	}
	altered := func(i int) (before, after map[string]any) {
		t.Helper()
		if len(all) <= i || len(all[i].DDL.Altered) == 0 {
			t.Fatalf("message %d does not tell of a table: %+v", i, all)
		}
		a := all[i].DDL.Altered
		return a[len(a)-1].Before, a[len(a)-1].After
	}
	if b, a := altered(1); column(b, "note")["n"] != column(a, "remark")["n"] {
		t.Errorf("note became remark: %v, %v", b, a)
	}
	if b, a := altered(2); b["n"] != "orders" || a["n"] != "purchases" {
		t.Errorf("orders became purchases: %v, %v", b, a)
	}
	if b, a := altered(3); column(b, "remark")["y"] != "text" || column(a, "remark")["y"] != "character varying(9)" {
		t.Errorf("remark became shorter: %v, %v", b, a)
	}
	if len(all[4].DDL.Altered) != 2 {
		t.Errorf("a column of a partitioned table is one of its partitions: %v", all[4])
	}
	if b, a := altered(5); column(b, "r") == nil || column(a, "r") != nil {
		t.Errorf("r went with its domain: %v, %v", b, a)
	}
	if b, a := altered(6); b["w"] != true || a["w"] != false {
		t.Errorf("a trigger was disabled: %v, %v", b, a)
	}
	if b, a := altered(7); b["i"] != "f" || a["i"] != "d" {
		t.Errorf("the replica identity was changed: %v, %v", b, a)
	}
	if _, a := altered(9); column(a, "n")["v"] != nil || column(a, "n")["d"] != true {
		t.Errorf("n, with a default of its own for each row, was added as %v", column(a, "n"))
	}
	if len(all[8].DDL.Altered) != 0 {
		t.Errorf("an index changed a table: %v", all[8])
	}
	d.exec("DROP TABLE stock")
	lines, _ := d.messages()
	said(t, lines, "D1 DROP TABLE, table public.stock, table public.stock_2026")
}

// ddlFollows: a new table is captured from its first row on, as setup would
// have it, and teardown takes all of it back.
func ddlFollows(t *testing.T, d *database) {
	d.exec(shop, "CREATE SCHEMA other", "CREATE TABLE stock (day date, sku int, PRIMARY KEY (day, sku)) PARTITION BY RANGE (day)",
		"CREATE TABLE stock_2025 (day date, sku int, PRIMARY KEY (day, sku))")
	cfg := d.config()
	cfg.Tables = []Table{{Name: "public.*"}, {Name: "public.keyed_*", ReplicaIdentity: IdentityDefault}, {Name: "public.k[a-c]?", ReplicaIdentity: IdentityKeep}}
	cfg.Tables[0], cfg.Tables[1], cfg.Tables[2] = cfg.Tables[1], cfg.Tables[2], cfg.Tables[0]
	cfg.Exclude = []string{"public.secret_*", "public.stock_2025"}
	d.setup(cfg)
	d.log()
	d.exec("BEGIN; CREATE TABLE fresh (id int); INSERT INTO fresh VALUES (1); COMMIT", "UPDATE fresh SET id = 2",
		`CREATE TABLE "Odd ""name" (id serial PRIMARY KEY); INSERT INTO "Odd ""name" DEFAULT VALUES`,
		"CREATE TABLE keyed_1 (id int); UPDATE keyed_1 SET id = 1",
		"ALTER TABLE keyed_1 ADD PRIMARY KEY (id)", "CREATE TABLE secret_1 (id int)", "CREATE UNLOGGED TABLE cache (id int)", "CREATE TABLE other.t (id int)")
	lines, _ := d.messages()
	said(t, lines, `D1 CREATE TABLE, table public.fresh [public.fresh: replica identity, stamps, published]`, "S1", "insert fresh", "S1", "update fresh",
		`D1 CREATE TABLE, sequence public."Odd ""name_id_seq", table public."Odd ""name", index public."Odd ""name_pkey", sequence public."Odd ""name_id_seq" [public."Odd ""name": replica identity, stamps, published]`,
		"S1", `insert Odd "name`,
		"D1 CREATE TABLE, table public.keyed_1 [public.keyed_1: 42P16]", "D1 ALTER TABLE, table public.keyed_1 [public.keyed_1: stamps, published]",
		"D1 CREATE TABLE, table public.secret_1", "D1 CREATE TABLE, table public.cache", "D1 CREATE TABLE, table other.t")
	d.exec("CREATE TABLE stock_2026 PARTITION OF stock FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); INSERT INTO stock_2026 VALUES ('2026-05-05', 1)",
		"ALTER TABLE stock ATTACH PARTITION stock_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')", "INSERT INTO stock VALUES ('2025-05-05', 1)",
		"ALTER TABLE stock DETACH PARTITION stock_2026", "INSERT INTO stock_2026 VALUES ('2027-07-07', 1)",
		"ALTER TABLE other.t RENAME TO moved; ALTER TABLE other.moved SET SCHEMA public", "INSERT INTO moved VALUES (1)",
		"CREATE TABLE copied AS SELECT 1 AS one", "ALTER SCHEMA other RENAME TO another")
	lines, _ = d.messages()
	said(t, lines, "D1 CREATE TABLE, table public.stock_2026 [public.stock_2026: replica identity, stamps]", "S1", "insert stock_2026",
		"D1 ALTER TABLE, table public.stock [public.stock_2025: replica identity, stamps]", "S1", "insert stock_2025",
		"D1 ALTER TABLE, table public.stock [public.stock_2026: published]", "S1", "insert stock_2026",
		"D1 ALTER TABLE, table other.moved", "D1 ALTER TABLE, table public.moved [public.moved: replica identity, stamps, published]", "S1", "insert moved",
		"D1 CREATE TABLE AS, table public.copied [public.copied: replica identity, stamps, published]", "D1 ALTER SCHEMA, schema another")
	if failed := d.failures(cfg); len(failed) > 0 {
		t.Errorf("check fails: %v", failed)
	}
	if plan := d.prepare(cfg); !plan.Empty() {
		t.Errorf("setup has something to do:\n%s", plan)
	}
	d.teardown(cfg)
	if got := d.value("SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE 'pgwitness%'") + d.value("SELECT string_agg(relname, ' ') FROM pg_class WHERE relreplident = 'f' AND relkind = 'r'"); got != "0" {
		t.Errorf("teardown left %s", got)
	}
}

// ddlNeverFails: whatever is in the way, the command of the application goes
// through, and waits for nobody.
func ddlNeverFails(t *testing.T, d *database) {
	d.watched("CREATE ROLE app_"+d.name, "GRANT CREATE ON SCHEMA public TO app_"+d.name)
	// Somebody else holds the publication: the new table is left for later.
	other := d.connect(d.dsn)
	d.execOn(other, "BEGIN", "CREATE TABLE first (id int)")
	conn := d.connect(d.dsn)
	d.execOn(conn, "SET ROLE app_"+d.name, "CREATE TABLE second (id int)")
	d.execOn(other, "ROLLBACK")
	lines, _ := d.messages()
	if d.major >= 15 { // before, a publication was not locked
		said(t, lines, "D1 CREATE TABLE, table public.second [public.second: 55P03]")
	} else {
		said(t, lines, "D1 CREATE TABLE, table public.second [public.second: replica identity, stamps, published]")
	}
	// The next command that touches it takes it up.
	d.execOn(conn, "ALTER TABLE public.second ADD c int", "INSERT INTO public.second VALUES (1, 2)")
	if lines, _ = d.messages(); len(lines) != 3 || lines[2] != "insert second" {
		t.Errorf("the log says %q", lines)
	}
	// Without what the function needs.
	for _, broken := range []string{
		"DROP TABLE pgwitness.audited", "DROP TABLE pgwitness.pattern", "DROP FUNCTION pgwitness.follow", "DELETE FROM pgwitness.secret",
		"DROP TABLE pgwitness.secret", "DROP FUNCTION pgwitness.message",
	} {
		d.exec(broken)
		d.execOn(d.connect(d.dsn), "SET ROLE app_"+d.name, "CREATE TABLE public.probe (id int)", "ALTER TABLE public.probe ADD c int", "DROP TABLE public.probe")
	}
	d.exec("ALTER SCHEMA pgwitness RENAME TO elsewhere", "CREATE SCHEMA pgwitness", "CREATE VIEW v AS SELECT 1 AS one", "DROP VIEW v", "DROP SCHEMA pgwitness", "ALTER SCHEMA elsewhere RENAME TO pgwitness")
	d.setup(d.config())
	if failed := d.failures(d.config()); len(failed) > 0 {
		t.Errorf("after setup check still fails: %v", failed)
	}
	d.exec("DROP OWNED BY app_"+d.name, "DROP ROLE app_"+d.name)
}

// ddlUnderHostileSearchPath: nothing that a client made is run with the rights
// of the owner, and no client can keep a command from being told.
func ddlUnderHostileSearchPath(t *testing.T, d *database) {
	d.watched("CREATE ROLE mallory_"+d.name, "CREATE SCHEMA evil", "CREATE TABLE evil.caught (what text)", "GRANT ALL ON SCHEMA evil, public TO mallory_"+d.name, "GRANT ALL ON evil.caught TO PUBLIC")
	trap := func(name, arguments, returns, value string) string {
		return fmt.Sprintf(`CREATE FUNCTION evil.%[1]s(%[2]s) RETURNS %[3]s LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO evil.caught VALUES (pg_catalog.textcat('%[1]s as ', current_user::pg_catalog.text)); RETURN %[4]s; END $$;`, name, arguments, returns, value)
	}
	d.exec(trap("sha256", "bytea", "bytea", "'x'::bytea"), trap("current_setting", "text, boolean", "text", "'x'"), trap("set_config", "text, text, boolean", "text", "'x'"),
		trap("encode", "bytea, text", "text", "'x'"), trap("lower", "text", "text", "'x'"), trap("format", "text, VARIADIC text[]", "text", "'SELECT 1'"),
		trap("to_jsonb", "bigint", "jsonb", "'1'"), trap("current_query", "", "text", "'x'"), trap("left", "text, integer", "text", "'x'"),
		trap("regexeq", "name, text", "boolean", "true"), trap("eq", "text, text", "boolean", "true"), trap("cat", "text, text", "text", "'x'"), trap("count", "text", "bigint", "1"),
		`CREATE OPERATOR evil.~ (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.regexeq); CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
		 CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.cat); CREATE TABLE evil.pg_class (oid oid); CREATE TABLE evil.pattern (x int)`)
	d.log()
	conn := d.connect(d.dsn)
	d.execOn(conn, "SET search_path = evil, pg_catalog, pg_temp, public", "SET ROLE mallory_"+d.name,
		"SET pgwitness.following = 'on'", "SET audit.actor_id = 'm'", "CREATE TABLE public.mine (id int)", "ALTER TABLE public.mine ADD c text DEFAULT 'd'",
		"CREATE TEMP TABLE pg_trigger (tgrelid oid)", "DROP TABLE public.mine")
	lines, all := d.messages()
	said(t, lines, "D1 CREATE TABLE, table public.mine [public.mine: replica identity, stamps, published]", "D1 ALTER TABLE, table public.mine", "D1 DROP TABLE, table public.mine")
	if len(all) > 0 && (all[0].Actor["i"] != "m" || all[0].User != "postgres") {
		t.Errorf("the table is of %+v", all[0])
	}
	if got := d.value("SELECT string_agg(DISTINCT what, ', ') FROM evil.caught"); got != "" {
		t.Errorf("the event trigger ran what a client made: %s", got)
	}
	for _, attempt := range []string{"SELECT pgwitness.follow('{}')", "SELECT pgwitness.describe(0, true)", "DELETE FROM pgwitness.pattern", "DELETE FROM pgwitness.audited"} {
		if _, err := conn.Exec(context.Background(), attempt, pgx.QueryExecModeSimpleProtocol); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", attempt, err)
		}
	}
	d.exec("DROP OWNED BY mallory_"+d.name, "DROP ROLE mallory_"+d.name)
}

// ddlOfTheAuditor: what is done to pgwitness itself is told, and setup announces
// itself.
func ddlOfTheAuditor(t *testing.T, d *database) {
	d.watched("CREATE ROLE snoop_" + d.name)
	orders := d.value("SELECT 'orders'::regclass::oid::text")
	d.exec("DROP TRIGGER pgwitness_stamp ON orders", "ALTER PUBLICATION "+d.name+"_publication DROP TABLE customers",
		"ALTER FUNCTION pgwitness.stamp() COST 7", "GRANT SELECT ON pgwitness.secret TO snoop_"+d.name, "DROP TABLE orders")
	lines, all := d.messages()
	said(t, lines, "D1 DROP TRIGGER, trigger pgwitness_stamp on public.orders",
		"D1 ALTER PUBLICATION, publication relation public.customers in publication "+d.name+"_publication",
		"D1 ALTER FUNCTION, function pgwitness.stamp()", "D1 GRANT, table ", "D1 DROP TABLE, table public.orders")
	if a := all[0].DDL.Altered; len(a) != 1 || a[0].After["w"] != false {
		t.Errorf("a dropped trigger: %v", a)
	}
	if got := all[3].DDL.Readers; !slices.Equal(got, []string{"snoop_" + d.name}) {
		t.Errorf("the keys are read by %v", got)
	}
	if gone := all[4].DDL; !gone.Objects[0].Audited || fmt.Sprint(gone.Gone) != "["+orders+"]" {
		t.Errorf("audited table %s was dropped: %+v", orders, gone)
	}
	d.exec("ALTER EVENT TRIGGER pgwitness_ddl DISABLE")
	if f := d.find(d.config(), "event_triggers")[""]; f.Severity != audit.Failure {
		t.Errorf("finding %+v", f)
	}
	d.setup(d.config())
	lines, _ = d.messages()
	for _, line := range lines {
		if line != "E1" && !strings.HasPrefix(line, "D1") {
			t.Errorf("setup wrote %s", line)
		}
	}
	if lines[0] != "E1" {
		t.Errorf("setup does not announce itself: %q", lines)
	}
	if failed := d.failures(d.config()); len(failed) > 0 {
		t.Errorf("after setup check still fails: %v", failed)
	}
	// Not wanted any more.
	off := d.config()
	off.DDL = DDLOff
	d.setup(off)
	if got := d.value("SELECT count(*)::text FROM pg_event_trigger"); got != "0" {
		t.Errorf("%s event triggers with ddl: off", got)
	}
	d.exec("DROP ROLE snoop_" + d.name)
}

// ddlWithoutEventTriggers: who is no superuser gets everything else, and check
// says what he does not get. A host that refuses does not end setup.
func ddlWithoutEventTriggers(t *testing.T, d *database) {
	d.exec("CREATE ROLE owner_"+d.name+" LOGIN REPLICATION PASSWORD 'p'", "GRANT CREATE ON DATABASE "+d.name+" TO owner_"+d.name, "GRANT ALL ON SCHEMA public TO owner_"+d.name,
		"SET ROLE owner_"+d.name, shop, "RESET ROLE")
	cfg := d.config()
	cfg.DSN = strings.Replace(d.server.DSNAs("owner_"+d.name, "p"), d.server.Database, d.name, 1)
	d.setup(cfg)
	if f := d.find(cfg, "event_triggers")[""]; f.Severity != audit.Warning || !strings.Contains(f.Message, "may not make any") {
		t.Errorf("finding %+v", f)
	}
	d.exec("CREATE ROLE rds_superuser", "GRANT rds_superuser TO owner_"+d.name) // a managed host's name, without its patches
	defer d.exec("DROP ROLE rds_superuser")
	var refused []string
	plan := d.prepare(cfg)
	err := Apply(context.Background(), cfg, plan, func(p Progress) {
		if strings.Contains(p.Why, "REFUSED") {
			refused = append(refused, p.Why)
		}
	})
	if err != nil || len(refused) != len(eventTriggers()) {
		t.Errorf("refused %q, error %v", refused, err)
	}
}

// The patterns mean in PostgreSQL what they mean here.
func TestRegex(t *testing.T) {
	for glob, want := range map[string]string{
		"*": `^(?:.*)$`, "orders_?": `^(?:orders_.)$`, "a.b": `^(?:a\.b)$`, "x[^a-c]y": `^(?:x[^a-c]y)$`, `a\*b`: `^(?:a\*b)$`, "ö|": `^(?:ö\|)$`,
	} {
		if got := regex(glob, false); got != want {
			t.Errorf("%s is %s, want %s", glob, got, want)
		}
	}
	if got := regex("a*b", true); got != `^(?:a\*b)$` {
		t.Errorf("an exact name is %s", got)
	}
}
