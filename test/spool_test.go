package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

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

func (s *sidecar) untilSpooling() {
	s.t.Helper()
	s.until("spooling begins", time.Minute, func() bool { return s.spoolState().Entries > 0 })
}

func (s *sidecar) untilDrained() {
	s.t.Helper()
	s.until("the spool drains", 2*time.Minute, func() bool { return !s.spoolState().Active })
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
	long, limit := outage(t)
	pg, ch := harness.Postgres(t), harness.ClickHouseServer(t)
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
	s.untilDrained()
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
}

func (b burden) String() string {
	return fmt.Sprintf("%s, %.1f transactions/s, slowest %s, %d MiB of log written, at most %d MiB kept", b.took.Round(time.Second),
		float64(b.transactions)/b.took.Seconds(), b.slowest.Round(time.Millisecond), b.log>>20, b.kept>>20)
}

// load books until so much log is written and so long a time is over. The
// server may never keep more than the limit for the slot.
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
	}
	return b
}

// Kill -9 of the sidecar while it spools, and while the spool drains.
func TestSpoolSurvivesKill9(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouseServer(t)
	newStock(pg)
	s := newSidecar(t, pg, ch, spoolConfig(1<<20, 1<<30, 1<<18))
	s.start()
	pg.Exec(stockRows)
	s.sync(time.Minute)

	load, stopLoad := context.WithCancel(t.Context())
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			conn := pg.Connect()
			defer conn.Close(context.Background())
			for load.Err() == nil {
				if _, err := book(t.Context(), conn, 1+rand.IntN(100)); err != nil {
					return err
				}
				wait(50 * time.Millisecond)
			}
			return nil
		})
	}
	rounds, killed := 1, 0
	if n, _ := kills(t); n > 12 {
		rounds = n / 6
	}
	for range rounds {
		ch.Kill()
		s.untilSpooling()
		for range 3 {
			wait(time.Duration(rand.IntN(800)) * time.Millisecond)
			s.kill()
			s.start()
			killed++
		}
		before := s.spoolState().Entries
		s.until("spooling goes on after a start without ClickHouse", time.Minute, func() bool { return s.spoolState().Entries > before })
		ch.Start()
		for range 3 {
			wait(time.Duration(rand.IntN(600)) * time.Millisecond)
			s.kill()
			s.start()
			killed++
		}
	}
	stopLoad()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.sync(2 * time.Minute)
	s.untilDrained()
	s.foldEqualsTables("stock")
	r := s.verified()
	t.Logf("%d kills, %d entries, none lost, none double", killed, r.Size)
	s.stop()
}

// Sidecar and ClickHouse die together, so that what the local disk knows of the
// chain may be older than the trail. The stream goes on without ClickHouse all
// the same, and what was stored already is found out later.
func TestSpoolBegunWithoutClickHouse(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouseServer(t)
	newStock(pg)
	s := newSidecar(t, pg, ch, spoolConfig(1<<20, 1<<30, 1<<18))
	s.start()
	pg.Exec(stockRows)
	s.sync(time.Minute)
	conn := pg.Connect()
	defer conn.Close(context.Background())
	for range 2 {
		for began := time.Now(); time.Since(began) < time.Duration(600+rand.IntN(700))*time.Millisecond; {
			if _, err := book(t.Context(), conn, 1+rand.IntN(200)); err != nil {
				t.Fatal(err)
			}
			wait(20 * time.Millisecond)
		}
		s.kill()
		ch.Kill()
		s.start()
		if _, err := book(t.Context(), conn, 10); err != nil {
			t.Fatal(err)
		}
		s.until("the stream goes on without ClickHouse", time.Minute, func() bool { return s.spoolState().Entries > 0 })
		if rand.IntN(2) == 0 {
			s.kill()
			s.start()
		}
		ch.Start()
		s.untilDrained()
	}
	s.sync(time.Minute)
	s.foldEqualsTables("stock")
	s.verified()
	s.stop()
}

// What can go wrong with a spool, one thing after another on one stream. The
// first phases lose nothing, the last one a part of the spool, and says so.
func TestSpoolInTrouble(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouseServer(t)
	newStock(pg)
	s := newSidecar(t, pg, ch, spoolConfig(1<<20, 4<<20, 1<<17))
	s.start()
	pg.Exec(stockRows)
	s.sync(time.Minute)
	conn := pg.Connect()
	defer conn.Close(context.Background())
	u := &troubled{sidecar: s, conn: conn}
	for _, phase := range []struct {
		name string
		run  func()
	}{
		{"full", u.full}, {"damaged", u.damaged}, {"elsewhere", u.elsewhere}, {"lost", u.lost},
	} {
		if !t.Run(phase.name, func(t *testing.T) { s.t = t; phase.run() }) {
			return
		}
		s.t = t
	}
}

// troubled is a sidecar with a small spool.
type troubled struct {
	*sidecar
	conn *pgx.Conn
}

// book changes so many rows.
func (u *troubled) book(rows int) {
	u.t.Helper()
	if _, err := book(u.t.Context(), u.conn, rows); err != nil {
		u.t.Fatal(err)
	}
}

// spooling starts the sidecar without ClickHouse, and returns when there are so
// many segments.
func (u *troubled) spooling(segments int) (files []string) {
	u.t.Helper()
	u.ch.Kill()
	u.start()
	u.until("there are segments", time.Minute, func() bool {
		u.book(100)
		var err error
		if files, err = filepath.Glob(filepath.Join(spool.Folder(u.cfg.StateDir, "shop"), "*.segment")); err != nil {
			u.t.Fatal(err)
		}
		return len(files) >= segments
	})
	return files
}

// recovered checks that nothing is missing once ClickHouse is back, and stops.
func (u *troubled) recovered() {
	u.t.Helper()
	u.ch.Start()
	u.sync(2 * time.Minute)
	u.untilDrained()
	u.foldEqualsTables("stock")
	u.verified()
	u.stop()
}

// full: the server keeps the log after all, and nothing is lost; there is room
// again when ClickHouse is back.
func (u *troubled) full() {
	u.stop()
	u.spooling(3)
	u.until("the spool is full", time.Minute, func() bool {
		u.book(1000)
		return strings.Contains(u.tail(), "spool cannot be written to")
	})
	if b := u.spoolState().Bytes; b > 4<<20+4096 {
		u.t.Errorf("the spool has %d bytes, more than its limit", b)
	}
	slot := u.cfg.Streams[0].Postgres.Slot
	before, err := retained(u.t.Context(), u.conn, slot)
	if err != nil {
		u.t.Fatal(err)
	}
	for range 10 {
		u.book(500)
	}
	if after, err := retained(u.t.Context(), u.conn, slot); err != nil || after <= before {
		u.t.Errorf("the server kept %d bytes, now %d (%v): it must keep what cannot be spooled", before, after, err)
	}
	u.recovered()
}

// damaged: the stream stops with the place of the damage; with the file
// restored it goes on.
func (u *troubled) damaged() {
	files := u.spooling(4)
	u.kill()
	whole, err := os.ReadFile(files[1])
	if err != nil {
		u.t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"flipped":   func() error { return os.WriteFile(files[1], flipped(whole), 0o600) },
		"truncated": func() error { return os.WriteFile(files[1], whole[:len(whole)-100], 0o600) },
		"missing":   func() error { return os.Remove(files[1]) },
	} {
		if err := damage(); err != nil {
			u.t.Fatal(err)
		}
		out, code := u.run("run")
		if code != 5 || !strings.Contains(out, filepath.Base(files[1])+" at offset") {
			u.t.Errorf("%s: exit code %d\n%s", name, code, out)
		}
		if err := os.WriteFile(files[1], whole, 0o600); err != nil {
			u.t.Fatal(err)
		}
	}
	u.start()
	u.recovered()
}

func flipped(b []byte) []byte {
	b = append([]byte(nil), b...)
	b[len(b)/2] ^= 1
	return b
}

// elsewhere: a sidecar with another state folder knows nothing of the spool. It
// must not go on with the chain, nor must anybody declare a gap who does not
// know; the one that has the spool still can.
func (u *troubled) elsewhere() {
	u.spooling(3)
	u.until("the slot is acknowledged from the spool", time.Minute, func() bool {
		u.book(1)
		return u.spoolState().Saved > 0
	})
	wait(time.Second) // the acknowledgement is on its way
	u.kill()
	u.ch.Start()
	other := u.elsewhereWith("signing.key")
	other.refuses("has spooled entries of this stream")
	u.start()
	u.recovered()
}

// elsewhereWith is a sidecar of the same stream with a state folder of its own,
// which holds copies of some files of the first one's.
func (u *troubled) elsewhereWith(files ...string) *sidecar {
	u.t.Helper()
	text, err := os.ReadFile(u.file)
	if err != nil {
		u.t.Fatal(err)
	}
	other := u.second()
	other.file = u.file + ".elsewhere.yaml"
	folder := u.cfg.StateDir + ".elsewhere"
	if err := os.Mkdir(folder, 0o700); err != nil {
		u.t.Fatal(err)
	}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(u.cfg.StateDir, name))
		if err != nil {
			u.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			u.t.Fatal(err)
		}
	}
	moved := strings.Replace(string(text), "state_dir: "+u.cfg.StateDir, "state_dir: "+folder, 1)
	if err := os.WriteFile(other.file, []byte(moved), 0o600); err != nil {
		u.t.Fatal(err)
	}
	return other
}

// lost: what docs/spool.md says of a segment that nobody can restore. What is
// before the damage reaches the trail, and the rest is a declared gap.
func (u *troubled) lost() {
	files := u.spooling(4)
	u.until("the slot is acknowledged from the spool", time.Minute, func() bool {
		u.book(1)
		return u.spoolState().Saved > 0
	})
	wait(time.Second) // the acknowledgement is on its way
	u.kill()
	u.ch.Start()
	if err := os.WriteFile(files[1], flipped(read(u.t, files[1])), 0o600); err != nil {
		u.t.Fatal(err)
	}
	out, _ := u.run("run")
	_, after, _ := strings.Cut(out, filepath.Base(files[1])+" at offset ")
	var offset int64
	if _, err := fmt.Sscanf(after, "%d", &offset); err != nil || offset == 0 {
		u.t.Fatalf("no offset (%v)\n%s", err, out)
	}
	if out, code := u.run("resume", "--accept-gap", "--reason", "disk"); code == 0 || !strings.Contains(out, "would be lost") {
		u.t.Errorf("resume with a damaged spool: exit code %d\n%s", code, out)
	}
	if err := os.Truncate(files[1], offset); err != nil {
		u.t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(filepath.Dir(files[1]), "*.segment"))
	if err != nil {
		u.t.Fatal(err)
	}
	for _, file := range all[2:] {
		if err := os.Rename(file, file+".lost"); err != nil {
			u.t.Fatal(err)
		}
	}
	u.refuses("slot_advanced")
	if st := u.spoolState(); st.Active {
		u.t.Errorf("what is before the damage was not stored: %+v", st)
	}
	u.must("resume", "--accept-gap", "--reason", "disk")
	u.start()
	u.book(10)
	u.sync(time.Minute)
	u.declares("slot_advanced")
	u.stop()
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
