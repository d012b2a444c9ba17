package pgwitness

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// openTestTenure opens the session of a stream.
func openTestTenure(t *testing.T, pg *harness.PG) *tenure {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Streams = []StreamConfig{{Name: "shop"}}
	cfg.fillStreams()
	cfg.Streams[0].Postgres.DSN = pg.DSN()
	tn, err := openTenure(t.Context(), cfg.Streams[0], zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tn.close)
	return tn
}

const published = `
	CREATE SCHEMA sales; CREATE SCHEMA other;
	CREATE TABLE plain (id int PRIMARY KEY, v text); CREATE TABLE unpublished (id int); CREATE UNLOGGED TABLE unlogged (id int);
	CREATE TABLE sales.orders (id int PRIMARY KEY); CREATE VIEW sales.seen AS SELECT 1;
	CREATE TABLE part (id int, y int, PRIMARY KEY (id, y)) PARTITION BY RANGE (y);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
	CREATE TABLE other.part_2 PARTITION OF part FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (y);
	CREATE TABLE sales.part_2_1 PARTITION OF other.part_2 FOR VALUES FROM (10) TO (15);
	CREATE TABLE heir () INHERITS (plain);`

// On every version, the publication is read as PostgreSQL's own view shows it,
// and unlike that without waiting for a table.
func TestPublicationIsRead(t *testing.T) {
	for _, v := range harness.PostgresVersions(t) {
		t.Run(v.String(), func(t *testing.T) {
			pg := harness.PostgresServer(t, v.Major, nil)
			pg.Exec(published)
			tn := openTestTenure(t, pg)
			t.Run("as_the_server_shows_it", func(t *testing.T) { readAsShown(t, pg, tn, v.Major) })
			t.Run("while_tables_are_locked", func(t *testing.T) { readWhileLocked(t, pg, tn) })
		})
	}
}

func readAsShown(t *testing.T, pg *harness.PG, tn *tenure, major int) {
	for _, shape := range []struct {
		name, what string
		from       int
	}{
		{"tables", "FOR TABLE plain, part", 14},
		{"only", "FOR TABLE ONLY plain, sales.orders", 14},
		{"all", "FOR ALL TABLES", 14},
		{"leaves", "FOR TABLE part_1, other.part_2, part", 14},
		{"schema", "FOR TABLES IN SCHEMA sales", 15},
		{"schema_and_table", "FOR TABLE part, TABLES IN SCHEMA sales, public", 15},
		{"filter_and_columns", "FOR TABLE plain (id), sales.orders WHERE (id > 5), part_1 WHERE (y < 5)", 15},
	} {
		for _, root := range []bool{false, true} {
			if major < shape.from {
				continue
			}
			name := fmt.Sprintf("%s_%t", shape.name, root)
			pg.Exec(fmt.Sprintf("CREATE PUBLICATION %s %s WITH (publish_via_partition_root = %t)", name, shape.what, root))
			p, err := tn.readPublication(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(shown(t, pg, name), summary(p)); diff != "" {
				t.Errorf("%s: the view (-) and what was read (+):\n%s", name, diff)
			}
		}
	}
}

// tableSummary is what the view tells of one table.
type tableSummary struct {
	Filter  string
	Columns []string // nil: all
}

func summary(p *publication) map[string]tableSummary {
	tables := make(map[string]tableSummary)
	for name, table := range p.Tables {
		tables[name] = tableSummary{table.Filter, table.Columns}
	}
	return tables
}

func shown(t *testing.T, pg *harness.PG, name string) map[string]tableSummary {
	t.Helper()
	text := pg.Value(`SELECT coalesce(jsonb_object_agg(v.schemaname || '.' || v.tablename, jsonb_build_object(
			'Filter', coalesce(to_jsonb(v) ->> 'rowfilter', ''),
			'Columns', CASE WHEN jsonb_array_length(to_jsonb(v) -> 'attnames') < (SELECT count(*) FROM pg_attribute AS a
				WHERE a.attrelid = format('%I.%I', v.schemaname, v.tablename)::regclass AND a.attnum > 0 AND NOT a.attisdropped)
 THEN to_jsonb(v) -> 'attnames' END)), '{}')
		FROM pg_publication_tables AS v WHERE v.pubname = $1`, name)
	tables := make(map[string]tableSummary)
	if err := json.Unmarshal([]byte(text), &tables); err != nil {
		t.Fatal(err)
	}
	return tables
}

// An ALTER TABLE that takes hours, and a DROP TABLE at the wrong moment, do not
// keep the publication from being read: the view of the server waits behind
// the one and fails at the other.
func readWhileLocked(t *testing.T, pg *harness.PG, tn *tenure) {
	pg.Exec("CREATE PUBLICATION everything FOR ALL TABLES")
	conn := pg.Connect()
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE part, sales.orders; DROP TABLE plain CASCADE"); err != nil {
		t.Fatal(err)
	}
	p, err := tn.readPublication(t.Context(), "everything")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"sales.orders", "public.part_1", "public.plain"} {
		if _, ok := p.Tables[table]; !ok {
			t.Errorf("%s is missing", table)
		}
	}
}

// What is rendered with a lock all the same, a row filter, is waited for a
// moment only, and the session goes on.
func TestPublicationWithLockedRowFilter(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE orders (id int PRIMARY KEY); CREATE PUBLICATION filtered FOR TABLE orders WHERE (id > 5)")
	tn := openTestTenure(t, pg)
	conn := pg.Connect()
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE orders"); err != nil {
			return err
		}
		_, err := tn.readPublication(t.Context(), "filtered")
		return err
	})
	if !busy(err) {
		t.Errorf("got %v, want an error that the table is busy", err)
	}
	p, err := tn.readPublication(t.Context(), "filtered")
	if err != nil || p.Tables["public.orders"].Filter != "(id > 5)" {
		t.Errorf("after the lock: %+v, %v", p, err)
	}
}
