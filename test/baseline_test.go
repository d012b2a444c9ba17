package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/test/harness"
)

// existing is tables of every kind, with rows that are older than the trail.
const existing = `
CREATE TABLE items (id int PRIMARY KEY, name text, note text, big text);
INSERT INTO items SELECT i, 'item ' || i, NULL, CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 300) END FROM generate_series(1, 1500) AS i;
CREATE TABLE prices (shop text, item int, cents bigint, valid tstzrange DEFAULT '[2026-01-01,)', PRIMARY KEY (shop, item));
INSERT INTO prices SELECT 's''h/' || i % 7, i, i * 10 FROM generate_series(1, 500) AS i;
CREATE TABLE visits (page text, seconds real, seen boolean);
INSERT INTO visits SELECT 'page ' || i % 5, i % 3, i % 2 = 0 FROM generate_series(1, 400) AS i;
CREATE TABLE orders (id bigint, region text, total numeric(9,2), PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE orders_eu PARTITION OF orders FOR VALUES IN ('eu');
CREATE TABLE orders_us PARTITION OF orders FOR VALUES IN ('us');
INSERT INTO orders SELECT i, CASE WHEN i % 2 = 0 THEN 'eu' ELSE 'us' END, i FROM generate_series(1, 500) AS i;
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE sessions (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), data jsonb);
INSERT INTO sessions (data) SELECT jsonb_build_object('n', i) FROM generate_series(1, 200) AS i;`

func existingTables() []string {
	return []string{"items", "prices", "visits", "orders_eu", "orders_us", "empty", "sessions"}
}

// baselineOf is the configuration of a stream over all tables, whose baseline
// takes small steps.
func baselineOf(stream string, chunk int) string {
	return fmt.Sprintf("streams:\n  - name: %s\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: \"public.*\"}]\n"+
		"    baseline: {chunk_rows: %d}\n    ddl: off\n    watch_interval: 200ms\n", stream, chunk)
}

// churn changes rows of all tables in every way there is until ctx ends.
func churn(ctx context.Context, dsn string, seed uint64) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	random := rand.New(rand.NewPCG(seed, 7))
	for n := 0; ctx.Err() == nil; n++ {
		a, b := 1+random.IntN(2000), 1+random.IntN(500)
		statements := []string{
			fmt.Sprintf("UPDATE items SET note = 'seen %d' WHERE id BETWEEN %d AND %d", n, a, a+random.IntN(4)),
			fmt.Sprintf("DELETE FROM items WHERE id = %d", a),
			fmt.Sprintf("INSERT INTO items VALUES (%d, 'new', '%d', repeat('x', %d)) ON CONFLICT (id) DO UPDATE SET name = 'again'", a, n, random.IntN(6000)),
			fmt.Sprintf("UPDATE items SET id = %d WHERE id = %d AND NOT EXISTS (SELECT FROM items WHERE id = %d)", 2001-a, a, 2001-a),
			fmt.Sprintf("UPDATE prices SET cents = cents + 1 WHERE item = %d", b),
			fmt.Sprintf("UPDATE prices SET shop = 'moved', item = item + 10000 * (1 + %d) WHERE item = %d", n*10+int(seed), b),
			fmt.Sprintf("DELETE FROM prices WHERE item = %d", b),
			fmt.Sprintf("UPDATE visits SET seconds = %d WHERE ctid = (SELECT ctid FROM visits LIMIT 1 OFFSET %d)", n, random.IntN(100)),
			fmt.Sprintf("DELETE FROM visits WHERE ctid = (SELECT ctid FROM visits LIMIT 1 OFFSET %d)", random.IntN(100)),
			"INSERT INTO visits VALUES ('page 1', 1, true)",
			fmt.Sprintf("UPDATE orders SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE id = %d", b),
			fmt.Sprintf("UPDATE orders SET total = total + 1 WHERE id = %d", b),
			fmt.Sprintf("INSERT INTO sessions (data) VALUES ('{\"n\": %d}')", n),
			"DELETE FROM sessions WHERE id = (SELECT id FROM sessions ORDER BY random() LIMIT 1)",
		}
		if random.IntN(400) == 0 {
			statements = []string{"TRUNCATE sessions", "INSERT INTO sessions (data) SELECT jsonb_build_object('t', i) FROM generate_series(1, 50) AS i"}
		}
		text := "BEGIN; " + statements[random.IntN(len(statements))] + "; " + statements[random.IntN(len(statements))] + "; COMMIT"
		if _, err := conn.Exec(ctx, text); err != nil && ctx.Err() == nil && !transient(err) {
			return fmt.Errorf("%s: %w", text, err)
		}
		if conn.PgConn().TxStatus() != 'I' && ctx.Err() == nil {
			if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	return nil
}

// transient errors are of what concurrent transactions do to each other.
func transient(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == "40P01" || said.Code == "40001" || said.Code == "23505")
}

// baselined waits until so many tables have their baseline.
func (s *sidecar) baselined(tables int) {
	s.t.Helper()
	const query = "SELECT uniqExact(table_name) FROM audit_logs WHERE action = 'baseline_completed'"
	for deadline := time.Now().Add(4 * time.Minute); s.query(query) != strconv.Itoa(tables); wait(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s tables have their baseline, want %d\n%s", s.query(query), tables, s.tail())
		}
	}
}

// onceEach checks that no row of a table has two baseline entries, and returns
// how many have one.
func (s *sidecar) onceEach(table string) int {
	s.t.Helper()
	if double := s.query("SELECT count() FROM (SELECT resource_id FROM audit_logs WHERE action = 'baseline' AND table_name = '" + table + "' GROUP BY resource_id HAVING count() > 1)"); double != "0" {
		s.t.Errorf("%s: %s rows have more than one baseline entry", table, double)
	}
	n, err := strconv.Atoi(s.query("SELECT count() FROM audit_logs WHERE action = 'baseline' AND table_name = '" + table + "'"))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// Case 23: rows that were there before the trail began are in it, however much
// changes while they are read.
func TestCase23Baseline(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(existing)
	pg.Exec("ANALYZE")
	s := newSidecar(t, pg, ch, baselineOf("existing", 40))
	load, stopLoad := context.WithCancel(t.Context())
	var g errgroup.Group
	for seed := range uint64(2) {
		g.Go(func() error { return churn(load, pg.DSN(), seed) })
	}
	s.start()
	s.baselined(len(existingTables()))
	stopLoad()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.sync(2 * time.Minute)
	s.foldEqualsTables(existingTables()...)
	for _, table := range []string{"items", "prices", "orders_eu", "orders_us", "sessions"} {
		s.onceEach(table)
	}
	t.Logf("%s changes during the baseline, of %s existing rows", s.query("SELECT count() FROM audit_logs WHERE operation IN ('insert', 'update', 'delete')"),
		s.query("SELECT count() FROM audit_logs WHERE action = 'baseline'"))
	s.verified()
	s.prints(0, []string{"status"}, "baseline    7 of 7 tables")
	s.laterTable(pg)
	s.stop()
}

// laterTable adds a table to the publication that has rows already.
func (s *sidecar) laterTable(pg *harness.PG) {
	s.t.Helper()
	pg.Exec("CREATE TABLE later (code text PRIMARY KEY, n int); INSERT INTO later SELECT 'c' || i, i FROM generate_series(1, 100) AS i")
	s.must("setup")
	s.baselined(len(existingTables()) + 1)
	pg.Exec("UPDATE later SET n = -n WHERE n < 10; DELETE FROM later WHERE n = 50")
	s.sync(time.Minute)
	s.foldEqualsTables("later")
	if n := s.onceEach("later"); n != 100 {
		s.t.Errorf("%d baseline entries of 100 rows", n)
	}
	s.answersFromBaseline()
}

// answersFromBaseline asks for rows at a moment before their first change, and in sentences.
func (s *sidecar) answersFromBaseline() {
	s.t.Helper()
	began := s.query("SELECT toString(min(timestamp) + INTERVAL 1 MICROSECOND) FROM audit_logs WHERE action = 'start'")
	s.prints(0, []string{"state", "later", "c70", "--at", began}, "existed at", "70", "found in #")
	s.prints(0, []string{"state", "later", "c5", "--at", began}, "existed at", "5", "found in #")
	s.prints(0, []string{"state", "later", "c50"}, "was deleted")
	s.prints(0, []string{"trail", "later", "c70"}, "system:pgwitness", "found later c70")
	s.prints(0, []string{"trail", "pgwitness.baseline", "public.later"}, "recorded all rows that were already in table later")
}

// However often the sidecar is killed while it reads, every row that was there
// has exactly one entry.
func TestCase23BaselineKill9(t *testing.T) {
	t.Parallel()
	const rows = 2000
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE things (id int PRIMARY KEY, v text)")
	pg.Exec("INSERT INTO things SELECT i, 'old' FROM generate_series(1, " + strconv.Itoa(rows) + ") AS i")
	s := newSidecar(t, pg, ch, baselineOf("killed", 10))
	load, stopLoad := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return touch(load, pg.DSN(), rows) })
	seed := uint64(time.Now().UnixNano())
	t.Logf("random seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for s.start(); kills < 15; kills++ {
		wait(time.Duration(500+random.IntN(1000)) * time.Millisecond)
		if s.query("SELECT count() FROM audit_logs WHERE action = 'baseline_completed'") != "0" {
			break
		}
		s.kill()
		s.start()
	}
	s.baselined(1)
	stopLoad()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.sync(time.Minute)
	t.Logf("%d kills", kills)
	if n := s.onceEach("things"); n != rows {
		t.Errorf("%d baseline entries of %d rows", n, rows)
	}
	s.foldEqualsTables("things")
	s.verified()
	s.stop()
}

// touch updates rows, of which none comes or goes.
func touch(ctx context.Context, dsn string, rows int) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for n := 0; ctx.Err() == nil; n++ {
		if _, err := conn.Exec(ctx, fmt.Sprintf("UPDATE things SET v = 'v%d' WHERE id = %d", n, 1+n*7919%rows)); err != nil && ctx.Err() == nil {
			return err
		}
		wait(time.Millisecond)
	}
	return nil
}

// A large table is read at a rate worth having, which the log tells.
func TestBaselineRate(t *testing.T) {
	const rows = 50_000
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE large (id bigint PRIMARY KEY, a int, b text, c timestamptz, d numeric)")
	pg.Exec("INSERT INTO large SELECT i, i % 100, md5(i::text), now(), i / 7.0 FROM generate_series(1, " + strconv.Itoa(rows) + ") AS i")
	pg.Exec("ANALYZE")
	s := newSidecar(t, pg, ch, baselineOf("large", 10_000))
	s.start()
	s.baselined(1)
	s.sync(time.Minute)
	if n := s.onceEach("large"); n != rows {
		t.Errorf("%d baseline entries of %d rows", n, rows)
	}
	s.foldEqualsTables("large")
	said := regexp.MustCompile(`"rows_per_second":(\d+),"time":"[^"]*","message":"baseline completed"`).FindStringSubmatch(s.tail())
	if said == nil {
		t.Fatalf("the log tells no rate:\n%s", s.tail())
	}
	t.Logf("%s rows per second", said[1])
	s.stop()
}

// A table that cannot be read in one piece is left out, and an entry and status
// say so.
func TestBaselineThatCannotBe(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE bag (v int); INSERT INTO bag SELECT generate_series(1, 50)")
	s := newSidecar(t, pg, ch, strings.Replace(baselineOf("cannot", 10), "chunk_rows: 10", "chunk_rows: 10, keyless_rows: 20", 1))
	s.start()
	s.eventually("SELECT any(JSONExtractString(new_values, 'reason')) FROM audit_logs WHERE action = 'baseline_skipped'", "it has no key, and more than 20 rows or 64 MiB")
	s.eventually("SELECT count() FROM audit_logs WHERE action = 'baseline'", "0")
	s.prints(0, []string{"status"}, "baseline    0 of 1 tables", "public.bag: skipped: it has no key")
	s.stop()
}
