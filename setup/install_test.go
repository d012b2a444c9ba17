package setup

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// everything is a schema with each thing that setup treats in its own way.
const everything = shop + `
	CREATE TABLE "Odd ""name" (id int PRIMARY KEY);
	CREATE TABLE log (line text);
	CREATE TABLE by_index (code text NOT NULL UNIQUE, v int);
	ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
	CREATE TABLE already_full (id int);
	ALTER TABLE already_full REPLICA IDENTITY FULL;
	CREATE TABLE stock (day date, sku int, PRIMARY KEY (day, sku)) PARTITION BY RANGE (day);
	CREATE TABLE stock_2025 PARTITION OF stock FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
	CREATE TABLE stock_2026 PARTITION OF stock FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
	CREATE UNLOGGED TABLE cache (id int PRIMARY KEY);
	CREATE VIEW names AS SELECT name FROM customers;
	GRANT SELECT ON orders TO PUBLIC;`

func setupTwice(t *testing.T, d *database) {
	d.exec(everything)
	d.setup(d.config())
	before := d.catalogs(true)
	if plan := d.prepare(d.config()); !plan.Empty() {
		t.Errorf("the second plan is not empty:\n%s", plan)
	}
	d.setup(d.config())
	if diff := cmp.Diff(before, d.catalogs(true)); diff != "" {
		t.Errorf("the second setup changed catalogs:\n%s", diff)
	}
	if failed := d.failures(d.config()); len(failed) > 0 {
		t.Errorf("after setup check still fails: %v", failed)
	}
}

func teardownRestores(t *testing.T, d *database) {
	d.exec(everything)
	before := d.catalogs(false)
	d.setup(d.config())
	d.exec("INSERT INTO customers VALUES (1, 'Ada'); UPDATE log SET line = ''")
	if cmp.Equal(before, d.catalogs(false)) {
		t.Fatal("setup changed nothing that the catalogs show: the comparison is blind")
	}
	d.teardown(d.config())
	if diff := cmp.Diff(before, d.catalogs(false)); diff != "" {
		t.Errorf("teardown left the catalogs different:\n%s", diff)
	}
	d.exec("INSERT INTO customers VALUES (2, 'Bob'); UPDATE log SET line = ''")
	plan, err := PrepareTeardown(context.Background(), d.config())
	if err != nil || !plan.Empty() {
		t.Errorf("a second teardown has something to do (%v):\n%s", err, plan)
	}
}

// printedSQL runs the rendered plan as an administrator would, through psql,
// or without psql over a connection that gets all but its one command.
func printedSQL(t *testing.T, d *database) {
	d.exec(everything)
	script := d.prepare(d.config()).String()
	if psql, err := exec.LookPath("psql"); err == nil {
		cmd := exec.Command(psql, "--no-psqlrc", "--quiet", d.dsn)
		cmd.Stdin = strings.NewReader(script)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("psql: %v\n%s\n%s", err, said, script)
		}
	} else {
		d.execOn(d.connect(d.dsn), strings.Replace(script, `\set ON_ERROR_STOP on`, "", 1))
	}
	if plan := d.prepare(d.config()); !plan.Empty() {
		t.Errorf("after the script the plan is not empty:\n%s", plan)
	}
	if strings.Contains(script, d.value("SELECT encode(key, 'hex') FROM pgwitness.secret")) {
		t.Error("the script holds the key")
	}
	plan, err := PrepareTeardown(context.Background(), d.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range plan.Steps {
		d.exec(strings.Join(s.Statements, "\n"))
	}
	if d.value("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'pgwitness'") != "0" {
		t.Error("the statements of teardown left the schema")
	}
}

func setupsAtOnce(t *testing.T, d *database) {
	d.exec(everything)
	plan := d.prepare(d.config())
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = Apply(context.Background(), d.config(), plan, nil) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if plan := d.prepare(d.config()); !plan.Empty() {
		t.Errorf("something is left to do:\n%s", plan)
	}
}

// setupResumes ends setup after each of its steps in turn.
func setupResumes(t *testing.T, d *database) {
	d.exec(shop)
	before := d.catalogs(false)
	whole := d.prepare(d.config())
	for n := range whole.Steps {
		some := *whole
		some.Steps = whole.Steps[:n]
		if err := Apply(context.Background(), d.config(), &some, nil); err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO customers VALUES (1, 'Ada'); UPDATE customers SET name = 'Eve'; DELETE FROM customers")
		if n%3 == 2 { // teardown of a half is a teardown
			d.teardown(d.config())
			if n != 2 && n != 11 {
				continue // the comparison takes its time
			}
			if diff := cmp.Diff(before, d.catalogs(false)); diff != "" {
				t.Fatalf("teardown after %d steps left the catalogs different:\n%s", n, diff)
			}
			continue
		}
		if rest := d.prepare(d.config()); len(rest.Steps) != len(whole.Steps)-n {
			t.Errorf("after %d of %d steps %d are left", n, len(whole.Steps), len(rest.Steps))
		}
	}
	d.setup(d.config())
	if plan := d.prepare(d.config()); !plan.Empty() {
		t.Errorf("something is left to do:\n%s", plan)
	}
}

func lockIsWaitedFor(t *testing.T, d *database) {
	d.exec(shop)
	plan, cfg := d.prepare(d.config()), d.config()
	cfg.LockAttempts = 2
	holder := d.connect(d.dsn)
	d.execOn(holder, "SET application_name = 'long report'", "BEGIN; SELECT FROM orders")

	err := Apply(context.Background(), cfg, plan, nil)
	if err == nil || !strings.Contains(err.Error(), "public.orders") || !strings.Contains(audit.Hint(err), `"long report"`) {
		t.Fatalf("error %v, hint %q do not name the table and who holds it", err, audit.Hint(err))
	}

	cfg.LockAttempts = 100
	released := false
	err = Apply(context.Background(), cfg, plan, func(p Progress) {
		if p.Attempt == 3 {
			released = true
			d.execOn(holder, "COMMIT")
		}
	})
	if err != nil || !released {
		t.Fatalf("released %t, error %v", released, err)
	}
	if plan := d.prepare(d.config()); !plan.Empty() {
		t.Errorf("something is left to do:\n%s", plan)
	}
}

// tableWithoutKey: PostgreSQL refuses UPDATE on a published table whose rows it
// cannot tell apart. Setup must never bring that about.
func tableWithoutKey(t *testing.T, d *database) {
	d.exec(`CREATE TABLE log (line text);
		CREATE TABLE late (id int PRIMARY KEY DEFERRABLE);
		INSERT INTO log VALUES ('a'); INSERT INTO late VALUES (1)`)
	cfg := d.config()
	for _, identity := range []string{IdentityDefault, IdentityKeep} {
		cfg.Tables = []Table{{Name: "public.*", ReplicaIdentity: identity}}
		if _, err := Prepare(context.Background(), cfg); err == nil || !strings.Contains(audit.Hint(err), "full") {
			t.Errorf("%s: error %v, hint %q", identity, err, audit.Hint(err))
		}
		for _, table := range []string{"public.log", "public.late"} {
			if f := d.find(cfg, "primary_key")[table]; f.Severity != audit.Failure || f.Fix == "" {
				t.Errorf("%s: %s: finding %+v", identity, table, f)
			}
		}
	}
	d.setup(d.config())
	d.exec("UPDATE log SET line = 'b'; UPDATE late SET id = 2; DELETE FROM late")

	d.exec("ALTER TABLE log REPLICA IDENTITY DEFAULT")
	if f := d.find(d.config(), "primary_key")["public.log"]; f.Severity != audit.Failure || !strings.Contains(f.Message, "right now") {
		t.Errorf("finding %+v", f)
	}
}

func generatedColumns(t *testing.T, d *database) {
	d.exec(`CREATE TABLE lines (id int PRIMARY KEY, price numeric, amount int, total numeric GENERATED ALWAYS AS (price * amount) STORED);
		INSERT INTO lines VALUES (1, 2.50, 3)`)
	if d.major >= 18 {
		d.exec(`CREATE TABLE virtual (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL); INSERT INTO virtual VALUES (1, 1)`)
	}
	d.setup(d.config())
	d.exec("UPDATE lines SET amount = 4; DELETE FROM lines")
	found := d.find(d.config(), "generated_columns")
	if _, told := found["public.lines"]; told != (d.major < 18) {
		t.Errorf("finding %+v", found["public.lines"])
	}
	if d.major < 18 {
		return
	}
	d.exec("UPDATE virtual SET a = 2; DELETE FROM virtual")
	if f := d.find(d.config(), "replica_identity")["public.virtual"]; f.Severity != audit.Warning {
		t.Errorf("finding %+v", f)
	}
	if f := found["public.virtual"]; f.Severity != audit.Info {
		t.Errorf("finding %+v", f)
	}
}

func partitions(t *testing.T, d *database) {
	d.exec(everything)
	cfg := d.config()
	cfg.Tables, cfg.DDL = []Table{{Name: "public.stock"}}, DDLOff
	d.setup(cfg)
	if got := d.value("SELECT string_agg(tgrelid::regclass::text, ' ' ORDER BY 1) FROM pg_trigger WHERE tgname = 'pgwitness_stamp'"); got != "stock stock_2025 stock_2026" {
		t.Errorf("stamps on %q", got)
	}
	if got := d.value("SELECT string_agg(tablename, ' ' ORDER BY 1) FROM pg_publication_tables WHERE pubname = $1", cfg.Publication); got != "stock_2025 stock_2026" {
		t.Errorf("published %q", got)
	}
	d.exec("CREATE TABLE stock_2027 PARTITION OF stock FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')")
	if f := d.find(cfg, "stamp_triggers")["public.stock_2027"]; f.Severity != audit.Failure || !strings.Contains(f.Message, "partition") {
		t.Errorf("finding of a new partition %+v", f)
	}
	d.setup(cfg)
	if failed := d.failures(cfg); len(failed) > 0 {
		t.Errorf("after setup check still fails: %v", failed)
	}
}

func obstacles(t *testing.T, d *database) {
	d.exec(everything)
	refuse := func(name string, cfg Config, message, hint string) {
		t.Helper()
		_, err := Prepare(context.Background(), cfg)
		if err == nil || !strings.Contains(err.Error(), message) || !strings.Contains(audit.Hint(err), hint) {
			t.Errorf("%s: error %v, hint %q", name, err, audit.Hint(err))
		}
	}
	cfg := d.config()
	cfg.Tables = []Table{{Name: "public.nothing*"}}
	refuse("no table", cfg, "no table matches", "case-sensitive")
	cfg.Tables = append(d.config().Tables, Table{Name: "public.nothing"})
	refuse("a missing table", cfg, "public.nothing does not exist", "case-sensitive")

	cfg = d.config()
	d.exec("CREATE PUBLICATION everything FOR ALL TABLES")
	cfg.Publication = "everything"
	refuse("all tables", cfg, "FOR ALL TABLES", "another name")
	d.exec("DROP PUBLICATION everything")

	cfg = d.config()
	d.exec("SELECT pg_create_logical_replication_slot('" + cfg.Slot + "', 'pgoutput')")
	refuse("slot before publication", cfg, "older than the publication", "pg_drop_replication_slot")
	d.exec("SELECT pg_drop_replication_slot('" + cfg.Slot + "')")
	d.exec("SELECT pg_create_physical_replication_slot('" + cfg.Slot + "')")
	refuse("physical slot", cfg, "not one of pgoutput", "another name")
	d.exec("SELECT pg_drop_replication_slot('" + cfg.Slot + "')")

	cfg.SidecarDSN = d.server.DSNAs("nobody", "x")
	refuse("no role", cfg, `"nobody"`, "CREATE ROLE")

	d.setup(d.config())
	cfg = d.config()
	cfg.Slot = "another"
	refuse("another stream", cfg, "audited by the slot", "teardown")
}

// foreignPublication: teardown leaves a publication that somebody else made,
// with the tables that were in it.
func foreignPublication(t *testing.T, d *database) {
	cfg := d.config()
	d.exec(shop, "CREATE PUBLICATION "+cfg.Publication+" FOR TABLE customers WITH (publish = 'insert, update, delete, truncate')")
	d.setup(cfg)
	d.teardown(cfg)
	if got := d.value("SELECT string_agg(tablename, ' ') FROM pg_publication_tables WHERE pubname = $1", cfg.Publication); got != "customers" {
		t.Errorf("the publication holds %q after teardown", got)
	}
}

func leastPrivilege(t *testing.T, d *database) {
	ctx := context.Background()
	role, err := statements("role.sql", `"{role}"`, "witness", "{password}", "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	d.exec(everything, role)
	cfg := d.config()
	cfg.SidecarDSN = strings.Replace(d.server.DSNAs("witness", "s3cret"), d.server.Database, d.name, 1)
	d.setup(cfg)
	if failed := d.failures(cfg); len(failed) > 0 {
		t.Errorf("check by the administrator fails: %v", failed)
	}
	sidecar := cfg
	sidecar.DSN = cfg.SidecarDSN
	if failed := d.failures(sidecar); len(failed) > 0 {
		t.Errorf("check by the role of the sidecar fails: %v", failed)
	}
	if plan := d.prepare(sidecar); !plan.Empty() {
		t.Errorf("the role of the sidecar sees something left to do:\n%s", plan)
	}
	conn := d.connect(cfg.SidecarDSN)
	keys, err := Secrets(ctx, conn)
	if err != nil || keys.Stamp == [32]byte{} || keys.Stream == keys.Stamp {
		t.Errorf("keys %v, error %v", keys != Keys{}, err)
	}
	if _, err := conn.Exec(ctx, "SELECT FROM customers"); err == nil {
		t.Error("the role of the sidecar may read tables")
	}
	cfg.Baseline = true
	if f := d.find(cfg, "baseline")["public.customers"]; f.Severity != audit.Warning || f.Fix == "" {
		t.Errorf("without the right to read: finding %+v", f)
	}
	d.setup(cfg)
	if _, err := conn.Exec(ctx, "SELECT FROM customers"); err != nil {
		t.Errorf("the role of the sidecar may not read for the baseline: %v", err)
	}
	d.exec("CREATE TABLE later (id int)", `CREATE TABLE "Later still" (id int PRIMARY KEY)`)
	if _, err := conn.Exec(ctx, `SELECT FROM later, "Later still"`); err != nil {
		t.Errorf("the role of the sidecar may not read tables that are followed later: %v", err)
	}
	if plan := d.prepare(cfg); !plan.Empty() {
		t.Errorf("the second plan is not empty:\n%s", plan)
	}
	d.teardown(cfg)
	d.exec("DROP ROLE witness") // nothing of it is left
}

func checkChangesNothing(t *testing.T, d *database) {
	const open = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgwitness%'"
	d.exec(everything)
	for range 2 {
		before := d.catalogs(true)
		if _, err := Check(context.Background(), d.config()); err != nil {
			t.Fatal(err)
		}
		d.prepare(d.config())
		if diff := cmp.Diff(before, d.catalogs(true)); diff != "" {
			t.Errorf("check or plan changed catalogs:\n%s", diff)
		}
		d.setup(d.config())
	}
	for deadline := time.Now().Add(10 * time.Second); d.value(open) != "0"; { // the server takes its time to notice
		if time.Now().After(deadline) {
			t.Fatalf("%s connections are left open", d.value(open))
		}
	}
	all, err := Check(context.Background(), d.config())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, func(a, b audit.Finding) int { return strings.Compare(a.Check, b.Check) }) {
		t.Error("findings are not sorted")
	}
}

// ownerInstalls: no superuser is needed.
func ownerInstalls(t *testing.T, d *database) {
	owner := "owner_" + d.name
	d.exec("CREATE ROLE "+owner+" LOGIN REPLICATION PASSWORD 'x'", "GRANT CREATE ON DATABASE "+d.name+" TO "+owner, everything,
		"CREATE ROLE clerk_"+d.name+" LOGIN PASSWORD 'x'", "GRANT ALL ON customers TO clerk_"+d.name)
	cfg := d.config()
	cfg.DSN = strings.Replace(d.server.DSNAs(owner, "x"), d.server.Database, d.name, 1)
	if f := d.find(cfg, "setup_privileges")[owner]; f.Severity != audit.Info || !strings.Contains(f.Message, "ownership of public.") {
		t.Errorf("finding %+v", f)
	}
	err := Apply(context.Background(), cfg, d.prepare(cfg), nil)
	if err == nil || !strings.Contains(audit.Hint(err), "admin_dsn") {
		t.Errorf("error %v, hint %q", err, audit.Hint(err))
	}
	d.exec("DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') LOOP EXECUTE format('ALTER TABLE %s OWNER TO " + owner + "', t); END LOOP; END $$")
	d.setup(cfg)
	if failed := d.failures(cfg); len(failed) > 0 {
		t.Errorf("after setup these fail: %v", failed)
	}
	clerk := d.connect(strings.Replace(d.server.DSNAs("clerk_"+d.name, "x"), d.server.Database, d.name, 1))
	d.execOn(clerk, "SET audit.actor_id = 'c'", "INSERT INTO customers VALUES (1, 'x')", "SELECT pgwitness.event('looked')")
	want(t, fields(d.log(), "u", "r", "actor_id"), "S1 clerk_"+d.name+" <nil> c", "insert customers", "E1 clerk_"+d.name+" <nil> c")
	d.teardown(cfg)
	if d.value("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'pgwitness'") != "0" {
		t.Error("the owner's teardown left the schema")
	}
	d.exec("DROP OWNED BY clerk_"+d.name+" CASCADE", "DROP ROLE clerk_"+d.name, "REASSIGN OWNED BY "+owner+" TO postgres", "DROP OWNED BY "+owner, "DROP ROLE "+owner)
}

// activeSlot: a running sidecar is seen, and teardown leaves everything until
// it has stopped.
func activeSlot(t *testing.T, d *database) {
	ctx := context.Background()
	d.exec(shop)
	cfg := d.config()
	cfg.Failover = true
	d.setup(cfg)
	if d.major >= 17 && d.value("SELECT failover::text FROM pg_replication_slots WHERE slot_name = $1", cfg.Slot) != "true" {
		t.Error("the slot is not copied to standbys")
	}
	reader, err := pgconn.Connect(ctx, d.dsn+"&replication=database")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close(ctx)
	err = pglogrepl.StartReplication(ctx, reader, cfg.Slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + cfg.Publication + "'", "messages 'true'"}})
	if err != nil {
		t.Fatal(err)
	}
	if f := d.find(cfg, "slot")[cfg.Slot]; f.Severity != audit.OK {
		t.Errorf("finding %+v", f)
	}
	before := d.catalogs(true)
	plan, err := PrepareTeardown(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = Teardown(ctx, cfg, plan, nil)
	if err == nil || !strings.Contains(audit.Hint(err), "stop the sidecar") {
		t.Errorf("teardown under a running sidecar: %v, hint %q", err, audit.Hint(err))
	}
	if diff := cmp.Diff(before, d.catalogs(true)); diff != "" {
		t.Errorf("a refused teardown changed catalogs:\n%s", diff)
	}
}
