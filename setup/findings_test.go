package setup

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// findings: each thing that is worth a finding gets one, with a fix, and
// before setup everything that setup brings is a failure.
func findings(t *testing.T, d *database) {
	d.exec(everything,
		"CREATE TABLE base (id int PRIMARY KEY)",
		"CREATE SCHEMA archive; CREATE TABLE archive.heir () INHERITS (base)",
		"ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
		"SELECT lo_create(0)")
	cfg := d.config()
	cfg.Exclude = []string{"public.stock_2025", "public.log"}
	cfg.Tables = append(cfg.Tables, Table{Name: "public.missing"}, Table{Name: "sales.*"})

	failed := d.failures(cfg)
	for _, want := range []string{
		"schema", "keys: pgwitness.secret", "functions: pgwitness.stamp", "slot: " + cfg.Slot,
		"publication: " + cfg.Publication, "stamp_triggers: public.orders", "tables: public.missing",
	} {
		if !slices.Contains(failed, want) {
			t.Errorf("before setup %q does not fail: %v", want, failed)
		}
	}
	present := cfg
	present.Tables = slices.DeleteFunc(slices.Clone(cfg.Tables), func(t Table) bool { return t.Name == "public.missing" })
	d.setup(present)
	if got := d.failures(cfg); !slices.Equal(got, []string{"patterns", "tables: public.missing"}) {
		t.Errorf("after setup these fail: %v", got)
	}

	all, err := Check(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []audit.Finding{
		{Severity: audit.OK, Check: "server_version"},
		{Severity: audit.OK, Check: "wal_level"},
		{Severity: audit.OK, Check: "replication_connection"},
		{Severity: audit.OK, Check: "pooler"},
		{Severity: audit.Info, Check: "max_slot_wal_keep_size"},
		{Severity: audit.Info, Check: "two_phase"},
		{Severity: audit.Info, Check: "least_privilege", Subject: "postgres"},
		{Severity: audit.Info, Check: "slot", Subject: cfg.Slot},
		{Severity: audit.OK, Check: "replica_identity", Subject: "public.orders"},
		{Severity: audit.Warning, Check: "published_tables", Subject: "public.stock_2025"},
		{Severity: audit.Warning, Check: "not_covered", Subject: "public.cache"},
		{Severity: audit.Warning, Check: "not_covered", Subject: "large objects"},
		{Severity: audit.Info, Check: "not_covered", Subject: "sequences"},
		{Severity: audit.Warning, Check: "inheritance", Subject: "archive.heir"},
		{Severity: audit.Info, Check: "row_level_security", Subject: "public.customers"},
		{Severity: audit.Warning, Check: "tables", Subject: "sales.*"},
		{Severity: audit.OK, Check: "retained_wal", Subject: cfg.Slot},
	} {
		i := slices.IndexFunc(all, func(f audit.Finding) bool { return f.Check == want.Check && f.Subject == want.Subject })
		if i < 0 || all[i].Severity != want.Severity {
			t.Errorf("want %s %s %q, found %v", want.Severity, want.Check, want.Subject, all)
			continue
		}
		if all[i].Severity == audit.Warning && all[i].Fix == "" {
			t.Errorf("%s %q has no fix", want.Check, want.Subject)
		}
	}
	for _, f := range all {
		if strings.Contains(f.Message+f.Fix, "\n") || f.Message == "" {
			t.Errorf("%s: the message is not one line: %q", f.Check, f.Message)
		}
	}
	if f := d.find(cfg, "stamp_triggers"); f["public.log"].Check != "" {
		t.Errorf("an excluded table is reported: %+v", f["public.log"])
	}
}

// tampering: whoever works past the capture is found, and the next setup mends
// it.
func tampering(t *testing.T, d *database) {
	d.exec(everything)
	cfg := d.config()
	d.setup(cfg)
	d.exec("CREATE ROLE intruder_" + d.name)
	acts := []struct {
		name, act string
		finding   string
	}{
		{"trigger disabled", "ALTER TABLE orders DISABLE TRIGGER pgwitness_stamp", "stamp_triggers: public.orders"},
		{"trigger not always", "ALTER TABLE orders ENABLE TRIGGER pgwitness_stamp", "stamp_triggers: public.orders"},
		{"trigger dropped", "DROP TRIGGER pgwitness_stamp_truncate ON orders", "stamp_triggers: public.orders"},
		{"trigger altered", "CREATE OR REPLACE TRIGGER pgwitness_stamp BEFORE INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION pgwitness.stamp(); ALTER TABLE orders ENABLE ALWAYS TRIGGER pgwitness_stamp", "stamp_triggers: public.orders"},
		{"trigger on columns", "CREATE OR REPLACE TRIGGER pgwitness_stamp BEFORE INSERT OR DELETE OR UPDATE OF note ON orders FOR EACH STATEMENT EXECUTE FUNCTION pgwitness.stamp(); ALTER TABLE orders ENABLE ALWAYS TRIGGER pgwitness_stamp", "stamp_triggers: public.orders"},
		{"trigger with condition", "CREATE OR REPLACE TRIGGER pgwitness_stamp BEFORE INSERT OR DELETE OR UPDATE ON orders FOR EACH STATEMENT WHEN (current_user <> 'x') EXECUTE FUNCTION pgwitness.stamp(); ALTER TABLE orders ENABLE ALWAYS TRIGGER pgwitness_stamp", "stamp_triggers: public.orders"},
		{"function replaced", "CREATE OR REPLACE FUNCTION pgwitness.stamp() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NULL; END'", "functions: pgwitness.stamp"},
		{"function loses its rights", "ALTER FUNCTION pgwitness.stamp() SECURITY INVOKER", "functions: pgwitness.stamp"},
		{"message opened", "GRANT EXECUTE ON FUNCTION pgwitness.message TO PUBLIC", "functions: pgwitness.message"},
		{"message prints plans", "ALTER FUNCTION pgwitness.message RESET debug_print_plan", "functions: pgwitness.message"},
		{"table unpublished", "ALTER PUBLICATION " + cfg.Publication + " DROP TABLE orders", "published_tables: public.orders"},
		{"inserts only", "ALTER PUBLICATION " + cfg.Publication + " SET (publish = 'insert')", "publication: " + cfg.Publication},
		{"keys granted", "GRANT SELECT ON pgwitness.secret TO intruder_" + d.name, "keys: pgwitness.secret"},
		{"keys unguarded", "ALTER TABLE pgwitness.secret DISABLE ROW LEVEL SECURITY", "keys: pgwitness.secret"},
		{"keys deleted", "DELETE FROM pgwitness.secret", "keys: pgwitness.secret"},
	}
	if d.major >= 15 {
		acts = append(acts, []struct{ name, act, finding string }{
			{"row filter", "ALTER PUBLICATION " + cfg.Publication + " DROP TABLE orders; ALTER PUBLICATION " + cfg.Publication + " ADD TABLE orders WHERE (id < 0)", "published_tables: public.orders"},
		}...)
	}
	for _, a := range acts {
		d.exec(a.act)
		if failed := d.failures(cfg); !slices.Equal(failed, []string{a.finding}) {
			t.Errorf("%s: failures %v, want %s", a.name, failed, a.finding)
		}
		d.setup(cfg)
		if failed := d.failures(cfg); len(failed) > 0 {
			t.Errorf("%s: after setup still %v", a.name, failed)
		}
	}
	d.exec("ALTER TABLE orders REPLICA IDENTITY DEFAULT")
	if f := d.find(cfg, "replica_identity")["public.orders"]; f.Severity != audit.Warning {
		t.Errorf("replica identity lowered: %+v", f)
	}
	d.exec("DROP ROLE intruder_" + d.name)
}

// slotBeforePublication: before 18 the changes in between cannot be decoded,
// ever; 18 leaves them out. Either way they are missing.
func slotBeforePublication(t *testing.T, d *database) {
	d.exec(shop)
	cfg := d.config()
	d.exec("SELECT pg_create_logical_replication_slot('"+cfg.Slot+"', 'pgoutput')", "INSERT INTO customers VALUES (1, 'x')")
	if f := d.find(cfg, "slot")[cfg.Slot]; f.Severity != audit.Failure || !strings.Contains(f.Fix, "pg_drop_replication_slot") {
		t.Errorf("without a publication: %+v", f)
	}
	d.exec("CREATE PUBLICATION " + cfg.Publication + " FOR TABLE customers")
	f := d.find(cfg, "slot")[cfg.Slot]
	if failed := f.Severity == audit.Failure; failed != (d.major < 18) {
		t.Errorf("finding %+v", f)
	}
	d.exec("SELECT pg_drop_replication_slot('" + cfg.Slot + "')")
	d.setup(cfg)
	d.exec("INSERT INTO customers VALUES (2, 'x')")
	if failed := d.failures(cfg); len(failed) > 0 {
		t.Errorf("after setup these fail: %v", failed)
	}
}
