package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/test/harness"
)

// spoolConfig is a stream over one table, whose spool begins early.
func spoolConfig(maxRetained, maxBytes, segmentBytes int64) string {
	return fmt.Sprintf("spool: {max_retained_wal: %d, max_bytes: %d, segment_bytes: %d}\n", maxRetained, maxBytes, segmentBytes) +
		"streams:\n  - name: shop\n    postgres: {dsn: \"${SHOP_DSN}\", status_interval: 500ms}\n    tables: [{name: public.stock}]\n"
}

// newStock makes the table, with rows of about a kilobyte.
func newStock(pg *harness.PG) {
	pg.Exec("CREATE TABLE stock (id int PRIMARY KEY, quantity int NOT NULL, description text NOT NULL)")
}

const stockRows = "INSERT INTO stock SELECT i, 0, repeat(md5(i::text), 30) FROM generate_series(1, 2000) i"

// book changes a random part of the stock in one transaction, and returns how
// long the application had to wait.
func book(ctx context.Context, conn *pgx.Conn, rows int) (time.Duration, error) {
	began := time.Now()
	first := 1 + rand.IntN(2000-rows)
	_, err := conn.Exec(ctx, "UPDATE stock SET quantity = quantity + 1 WHERE id BETWEEN $1 AND $2", first, first+rows-1)
	return time.Since(began), err
}

func (s *sidecar) spoolState() spool.State {
	s.t.Helper()
	state, err := spool.Inspect(s.cfg.StateDir, "shop")
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// until polls a condition.
func (s *sidecar) until(what string, limit time.Duration, done func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not within %s\n%s", what, limit, s.tail())
		}
		wait(50 * time.Millisecond)
	}
}

func (s *sidecar) untilDrained(limit time.Duration) {
	s.t.Helper()
	s.until("the spool drains", limit, func() bool { return !s.spoolState().Active })
}

// retained is the log that the server keeps for the slot.
func retained(ctx context.Context, conn *pgx.Conn, slot string) (n int64, err error) {
	err = conn.QueryRow(ctx, "SELECT (pg_current_wal_lsn() - restart_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1", slot).Scan(&n)
	return n, err
}

// outage is how long ClickHouse stays away in TestSpoolBoundsTheLog; for a
// longer look, set PGWITNESS_OUTAGE to a duration such as 1h.
func outage(t *testing.T) (long time.Duration, limit int64) {
	t.Helper()
	text := os.Getenv("PGWITNESS_OUTAGE")
	if text == "" {
		return 0, 32 << 20
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return long, 64 << 20
}

// ClickHouse is killed under load and stays away while the server writes many
// times as much log as it may keep for us. The application does not notice, the
// server keeps less than the limit, and in the end nothing is missing.
func TestSpoolBoundsTheLog(t *testing.T) {
	t.Parallel()
	long, limit := outage(t)
	pg, ch := harness.PostgresServer(t, 0, nil), harness.ClickHouseServer(t)
	newStock(pg)
	s := newSidecar(t, pg, ch, spoolConfig(limit, 8<<30, 1<<20))
	s.start()
	pg.Exec(stockRows)
	s.sync(time.Minute)
	conn := pg.Connect()
	defer conn.Close(t.Context())
	before := s.load(conn, limit, 0, time.Second)
	ch.Kill()
	during := s.load(conn, limit, 7*limit/4, long)
	state := s.spoolState()
	if !state.Active || state.Entries == 0 {
		t.Fatalf("nothing is spooled: %+v\n%s", state, s.tail())
	}
	if out, _ := s.run("status"); !strings.Contains(out, "entries wait for ClickHouse") {
		t.Errorf("status does not tell of the spool:\n%s", out)
	}
	t.Logf("before: %s", before)
	t.Logf("ClickHouse away: %s; spool: %d entries, %d KiB", during, state.Entries, state.Bytes>>10)

	ch.Start()
	began := time.Now()
	s.untilDrained(2*time.Minute + long)
	t.Logf("drained in %s", time.Since(began).Round(time.Millisecond))
	s.sync(time.Minute)
	s.foldEqualsTables("stock")
	r := s.verified()
	t.Logf("%d entries verified", r.Size)
	if out := s.must("status"); strings.Contains(out, "entries wait for ClickHouse") {
		t.Errorf("status still tells of the spool:\n%s", out)
	}
	s.stop()
}

// burden is what a load has done.
type burden struct {
	transactions  int
	took, slowest time.Duration
	log, kept     int64 // written; at most kept for the slot
	paused        int   // times the load waited for the slot
}

func (b burden) String() string {
	return fmt.Sprintf("%s, %.1f transactions/s, slowest %s, %d MiB of log written, at most %d MiB kept, %d pauses", b.took.Round(time.Second),
		float64(b.transactions)/b.took.Seconds(), b.slowest.Round(time.Millisecond), b.log>>20, b.kept>>20, b.paused)
}

// load books until so much log is written and so long a time is over. The
// server may never keep more than the limit for the slot. On a machine that is
// too busy for the sidecar to keep up, the load waits for it; a longer look,
// which is for figures, does not.
func (s *sidecar) load(conn *pgx.Conn, limit, amount int64, long time.Duration) (b burden) {
	s.t.Helper()
	ctx := s.t.Context()
	position := func() (n int64) {
		if err := conn.QueryRow(ctx, "SELECT (pg_current_wal_lsn() - '0/0')::bigint").Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	first, began := position(), time.Now()
	for b.log < amount || b.took < long {
		took, err := book(ctx, conn, 150)
		if err != nil {
			s.t.Fatal(err)
		}
		// A slot lets go of log at the next snapshot of running transactions,
		// which a server takes every 15 seconds by itself.
		if _, err := conn.Exec(ctx, "SELECT pg_log_standby_snapshot()"); err != nil {
			s.t.Fatal(err)
		}
		kept, err := retained(ctx, conn, s.cfg.Streams[0].Postgres.Slot)
		if err != nil {
			s.t.Fatal(err)
		}
		b.transactions++
		b.slowest, b.kept = max(b.slowest, took), max(b.kept, kept)
		b.log, b.took = position()-first, time.Since(began)
		if kept > limit {
			s.t.Fatalf("the server keeps %d bytes of log, more than %d: %s\n%s", kept, limit, b, s.tail())
		}
		wait(40 * time.Millisecond)
		if kept > limit/4*3 && long < time.Minute {
			b.paused++
			s.until("the slot lets go of log", time.Minute, func() bool {
				if _, err := conn.Exec(ctx, "SELECT pg_log_standby_snapshot()"); err != nil {
					s.t.Fatal(err)
				}
				kept, err := retained(ctx, conn, s.cfg.Streams[0].Postgres.Slot)
				return err == nil && kept < limit/2
			})
		}
	}
	return b
}
