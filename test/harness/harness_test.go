package harness_test

import (
	"testing"

	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestFreshDatabases(t *testing.T) {
	for range 2 {
		pg := harness.Postgres(t)
		pg.Exec("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (7)")
		if got := pg.Value("SELECT id FROM orders"); got != "7" {
			t.Errorf("postgres answers %q, want 7", got)
		}
		ch := harness.ClickHouse(t)
		ch.Exec("CREATE TABLE " + ch.Database + ".t (a Int64) ENGINE = MergeTree ORDER BY a")
		ch.Exec("INSERT INTO " + ch.Database + ".t VALUES (8)")
		if got := ch.Value("SELECT a FROM " + ch.Database + ".t"); got != "8" {
			t.Errorf("clickhouse answers %q, want 8", got)
		}
	}
}
