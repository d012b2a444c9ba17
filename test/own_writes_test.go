package test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
)

// Cases 10, 12, 21, 22 and 27 from end to end: rows that triggers wrote say so,
// rows without a stamp say so, what is not covered is said before, and what the
// sidecar writes for itself is never a change.
func TestEntriesTellHowTheyCame(t *testing.T) {
	t.Parallel()
	pg := harness.Postgres(t)
	pg.Exec(ordersTable + `; CREATE TABLE lines (id int PRIMARY KEY, orders int REFERENCES orders ON DELETE CASCADE);
		CREATE UNLOGGED TABLE cache (id int PRIMARY KEY); CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
		CREATE FOREIGN TABLE remote (id int) SERVER elsewhere; SELECT lo_create(4711)`)
	s := newSidecar(t, pg, harness.ClickHouse(t), strings.Replace(watchful("how"), `"public.*"`, `"*.*"`, 1))
	t.Run("case12_and_22_not_covered", func(t *testing.T) {
		out, _ := s.run("check")
		for _, want := range []string{"public.remote", "a foreign table", "public.cache", "UNLOGGED", "large objects", "temporary tables", "sequences"} {
			if !strings.Contains(out, want) {
				t.Errorf("check does not say %q:\n%s", want, out)
			}
		}
	})
	s.start()
	pg.Exec("INSERT INTO orders VALUES (1, 'a'), (2, 'b'); INSERT INTO lines VALUES (10, 1)")
	s.sync(time.Minute)
	t.Run("case10_trigger_depth", func(t *testing.T) {
		pg.Exec("DELETE FROM orders WHERE id = 1")
		s.sync(time.Minute)
		const depth = `SELECT extract(assumeNotNull(attribution), '"trigger_depth":"([0-9]+)"') FROM audit_logs WHERE operation = 'delete' AND table_name = '{}'`
		if got := s.query(strings.Replace(depth, "{}", "lines", 1)); got != "1" {
			t.Error("nothing says that the cascade deleted the line")
		}
		if got := s.query(strings.Replace(depth, "{}", "orders", 1)); got != "" {
			t.Errorf("the statement itself is said to come from a trigger: %s", got)
		}
	})
	t.Run("case21_context_bypassed", func(t *testing.T) {
		pg.Exec("ALTER TABLE orders DISABLE TRIGGER USER; UPDATE orders SET status = 'by night' WHERE id = 2")
		pg.Exec("ALTER TABLE orders ENABLE ALWAYS TRIGGER pgwitness_stamp")
		s.sync(time.Minute)
		if got := s.query("SELECT JSONExtractString(assumeNotNull(attribution), 'context') FROM audit_logs WHERE operation = 'update'"); got != "bypassed" {
			t.Errorf("a change without a stamp says %q", got)
		}
	})
	t.Run("case27_own_writes", func(t *testing.T) {
		s.eventually("SELECT count() >= 2 FROM audit_logs WHERE action = 'heartbeat' AND resource_type = 'pgwitness.stream'", "1")
		s.must("setup")
		s.stop()
		s.start()
		s.sync(time.Minute)
		if got := s.query("SELECT arrayStringConcat(arraySort(groupUniqArray(concat(assumeNotNull(schema_name), '.', assumeNotNull(table_name)))), ' ') FROM audit_logs WHERE operation IN ('insert', 'update', 'delete', 'truncate')"); got != "public.lines public.orders" {
			t.Errorf("changes of the tables %s", got)
		}
		if got := s.query("SELECT count() FROM audit_logs WHERE operation IN ('insert', 'update', 'delete', 'truncate')"); got != "6" {
			t.Errorf("%s changes, and the application made 6", got)
		}
	})
	s.foldEqualsTables("orders", "lines")
	s.stop()
}
