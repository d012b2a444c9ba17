package test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/demo"
	"github.com/pgwitness/pgwitness/test/harness"
)

// tpcb is the schema and the transaction of pgbench's built-in script
// "tpcb-like", scale factor 1.
const tpcb = `
CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));
CREATE TABLE pgbench_tellers  (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
CREATE TABLE pgbench_history  (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));`

const tpcbRows = `
INSERT INTO pgbench_branches SELECT b, 0, '' FROM generate_series(1, 1) b;
INSERT INTO pgbench_tellers  SELECT t, 1, 0, '' FROM generate_series(1, 10) t;
INSERT INTO pgbench_accounts SELECT a, 1, 0, '' FROM generate_series(1, 10000) a;`

const tpcbConfig = "streams:\n  - name: bench\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: public.pgbench_*}]\n"

func tpcbTables() []string {
	return []string{"pgbench_branches", "pgbench_tellers", "pgbench_accounts", "pgbench_history"}
}

// runTPCB commits n transactions of pgbench's TPC-B from so many clients.
func runTPCB(ctx context.Context, dsn string, clients, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	for c := range clients {
		g.Go(func() error {
			conn, err := pgx.Connect(ctx, dsn)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			random := rand.New(rand.NewPCG(uint64(c), 1))
			for range n / clients {
				if err := tpcbTransaction(ctx, conn, random); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func tpcbTransaction(ctx context.Context, conn *pgx.Conn, random *rand.Rand) error {
	aid, tid, delta := 1+random.IntN(10000), 1+random.IntN(10), random.IntN(10000)-5000
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue("UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2", delta, aid)
	batch.Queue("SELECT abalance FROM pgbench_accounts WHERE aid = $1", aid)
	batch.Queue("UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2", delta, tid)
	batch.Queue("UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2", delta, 1)
	batch.Queue("INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, 1, $2, $3, CURRENT_TIMESTAMP)", tid, aid, delta)
	batch.Queue("COMMIT")
	return conn.SendBatch(ctx, batch).Close()
}

// After TPC-B, folding the entries gives the tables, every committed change is
// one entry, and the chain holds. pgbench's own script is run by our driver,
// so that the test needs no more than the engines.
func TestFoldEqualsTableAfterTPCB(t *testing.T) {
	const transactions = 20_000
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(tpcb)
	s := newSidecar(t, pg, ch, tpcbConfig)
	s.start()
	pg.Exec(tpcbRows)
	if err := runTPCB(t.Context(), pg.DSN(), 8, transactions); err != nil {
		t.Fatal(err)
	}
	s.sync(2 * time.Minute)
	want := map[string]int64{
		"pgbench_branches": 1 + transactions, "pgbench_tellers": 10 + transactions,
		"pgbench_accounts": 10_000 + transactions, "pgbench_history": transactions,
	}
	if got := s.changes(); !maps.Equal(got, want) {
		t.Errorf("entries %v, committed changes %v", got, want)
	}
	s.foldEqualsTables(tpcbTables()...)
	s.verified()
	s.stop()
}

// The same by the real pgbench, where one is installed.
func TestFoldEqualsTableAfterPgbench(t *testing.T) {
	binary := harness.Pgbench()
	if binary == "" {
		t.Logf("no pgbench is installed here: TestFoldEqualsTableAfterTPCB runs its transactions")
		return
	}
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pgbench(t, binary, pg, "--initialize", "--scale=1", "--quiet")
	// What --initialize wrote is older than the trail.
	s := newSidecar(t, pg, ch, tpcbConfig+"    baseline: {enabled: true}\n")
	s.start()
	pgbench(t, binary, pg, "--client=8", "--jobs=2", "--transactions=2500", "--no-vacuum")
	s.sync(2 * time.Minute)
	got := s.changes()
	for table, want := range map[string]int64{"pgbench_history": 20_000, "pgbench_accounts": 20_000} {
		if got[table] != want {
			t.Errorf("%s: %d entries, %d committed changes", table, got[table], want)
		}
	}
	s.baselined(4)
	s.foldEqualsTables(tpcbTables()...)
	s.verified()
	s.stop()
}

func pgbench(t *testing.T, binary string, pg *harness.PG, args ...string) {
	t.Helper()
	out, err := exec.Command(binary, append(args, pg.DSN())...).CombinedOutput()
	if err != nil {
		t.Fatalf("pgbench: %v\n%s", err, out)
	}
}

// shopConfig is the configuration of the demo shop, as newSidecar takes it.
func shopConfig() string {
	return strings.ReplaceAll(string(demo.Configuration()), "dsn: ${SHOP_DSN}", "dsn: \"${SHOP_DSN}\"")
}

// newShop installs the demo shop in pg.
func newShop(t testing.TB, pg *harness.PG, change func(*demo.Config)) *demo.Shop {
	t.Helper()
	cfg := demo.DefaultConfig()
	cfg.DSN = pg.DSN()
	cfg.Passwords = make(map[string]string)
	for _, role := range demo.Roles() {
		cfg.Passwords[role] = "shop-test"
	}
	change(&cfg)
	shop := demo.New(cfg, zerolog.Nop())
	if err := shop.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	return shop
}

// auditedTables are the tables of the shop in the trail, partitions by name.
func auditedTables(t testing.TB, pg *harness.PG) []string {
	t.Helper()
	text := pg.Value("SELECT string_agg(tablename, E'\\n') FROM pg_publication_tables WHERE pubname = 'pgwitness_shop'")
	tables := slices.Collect(strings.Lines(text))
	for i := range tables {
		tables[i] = strings.TrimSpace(tables[i])
	}
	return tables
}

// The census of PostgreSQL's own decoding, partitions added up under their
// root, against the entries.
func checkCensus(t testing.TB, s *sidecar, census *demo.Census) {
	t.Helper()
	counts, err := census.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries := make(map[string]int64)
	for table, n := range s.changes() {
		entries[s.rootOf(table)] += n
	}
	for table, c := range counts {
		if entries[table] != c.Total() {
			t.Errorf("%s: %d entries, %d committed changes", table, entries[table], c.Total())
		}
		delete(entries, table)
	}
	if len(entries) > 0 {
		t.Errorf("entries of tables without changes: %v", entries)
	}
}

// rootOf is the partitioned table that a table belongs to, or itself.
func (s *sidecar) rootOf(table string) string {
	return s.pg.Value(fmt.Sprintf("SELECT coalesce((SELECT relname FROM pg_class WHERE oid = pg_partition_root('public.%s')), '%[1]s')", table))
}

func TestFoldEqualsTableAfterShop(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	shop := newShop(t, pg, func(c *demo.Config) { c.Duration, c.HeroPause, c.NightEvery = 6*time.Second, 200*time.Millisecond, 800 })
	s := newSidecar(t, pg, ch, shopConfig())
	census := openCensus(t, pg)
	s.start()
	if err := shop.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := shop.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.sync(2 * time.Minute)
	checkCensus(t, s, census)
	s.foldEqualsTables(auditedTables(t, pg)...)
	s.verified()
	checkHero(t, s, shop.Hero())
	s.stop()
}

func openCensus(t testing.TB, pg *harness.PG) *demo.Census {
	t.Helper()
	census := demo.NewCensus(pg.DSN(), "census_"+pg.Database, "pgwitness_shop")
	if err := census.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := census.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return census
}

// The story of one order is in the trail as it was told, every kind of actor
// by name.
func checkHero(t testing.TB, s *sidecar, hero demo.Hero) {
	t.Helper()
	if !hero.Complete {
		t.Fatal("the hero's story was not told to its end")
	}
	story := s.must("trail", "order", fmt.Sprint(hero.OrderID))
	for _, step := range hero.Steps {
		actor := strings.TrimPrefix(step.Actor, "dba_") // a rule of the configuration names the role dba_bob bob
		if !strings.Contains(story, actor) || !strings.Contains(story, step.Reason) {
			t.Errorf("step %q of %s by %s (%s) is not in the trail:\n%s", step.What, step.Program, step.Actor, step.Reason, story)
		}
	}
}
