package cdc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// confirmed is where the slot stands.
func (tp *tape) confirmed() audit.LSN {
	tp.t.Helper()
	lsn, err := audit.ParseLSN(tp.pg.Value("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '" + tp.cfg.Slot + "'"))
	if err != nil {
		tp.t.Fatal(err)
	}
	return lsn
}

func (tp *tape) confirmedIs(lsn audit.LSN) {
	tp.t.Helper()
	tp.eventually("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '"+tp.cfg.Slot+"'", lsn.String())
}

// shorts are the short forms of all changes of the transactions.
func shorts(txs []audit.Tx) (s []string) {
	for _, tx := range txs {
		for _, c := range tx.Changes {
			s = append(s, short(c))
		}
	}
	return s
}

// After a crash exactly what was not acknowledged comes again.
func TestResumeAfterCrash(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE r (id int PRIMARY KEY, v text)")
	tp := newTape(t, pg, "TABLE r").start()
	begun := tp.confirmed()
	// A large compressible value makes positions and payload lengths differ a
	// lot: whoever adds them up acknowledges what follows.
	pg.Exec("INSERT INTO r VALUES (0, repeat('a', 1000000))")
	for i := 1; i <= 10; i++ {
		pg.Exec("INSERT INTO r VALUES ($1, 'x')", i)
	}
	all := tp.rewind()
	if got := tp.confirmed(); got != begun {
		t.Errorf("the slot moved from %s to %s although nothing was acknowledged", begun, got)
	}
	tp.read.Acknowledge(all[3].EndLSN)
	tp.read.Acknowledge(all[1].EndLSN) // a lower one is ignored
	tp.confirmedIs(all[3].EndLSN)
	tp.cut()

	tp.run()
	if diff := cmp.Diff(shorts(all[4:]), shorts(tp.rewind()[:7])); diff != "" {
		t.Errorf("the same Reader goes on: %s", diff)
	}
	tp.cut()

	tp.start() // a new one, as after a restart of the process
	if diff := cmp.Diff(shorts(all[4:]), shorts(tp.rewind()[:7])); diff != "" {
		t.Errorf("a new Reader goes on: %s", diff)
	}
	if got := tp.confirmed(); got != all[3].EndLSN {
		t.Errorf("the slot moved from %s to %s although nothing was acknowledged", all[3].EndLSN, got)
	}
}

// Rows of one COPY share positions; each comes once all the same, and in a
// second life, too.
func TestResumeBehindCopy(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE r (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE r").start()
	pg.Exec("INSERT INTO r SELECT generate_series(1, 4)")
	pg.Exec("INSERT INTO r SELECT generate_series(5, 8)")
	txs := tp.rewind()
	tp.read.Acknowledge(txs[0].EndLSN)
	tp.close()
	tp.start()
	tp.want("insert r [5]", "insert r [6]", "insert r [7]", "insert r [8]", `message tape "end 1" true`)
}

// A large transaction comes in parts, which are cut by its content alone.
func TestPartsAreCutAlike(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE p (id int PRIMARY KEY, v text); CREATE TABLE q (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE p, q")
	tp.cfg.FeedBytes, tp.cfg.FeedChanges = 20_000, 50
	tp.start()
	pg.Exec("INSERT INTO q VALUES (1)")
	pg.Exec(`BEGIN; INSERT INTO p SELECT i, repeat('x', i) FROM generate_series(1, 500) i; DELETE FROM p WHERE id % 3 = 0;
		UPDATE p SET v = repeat('y', 30000) WHERE id = 1; TRUNCATE p, q; COMMIT`)
	pg.Exec("INSERT INTO q VALUES (2)")
	whole := tp.rewind()
	if len(whole) != 3 || len(whole[1].Changes) != 500+166+1+2 {
		t.Fatalf("got %d transactions", len(whole))
	}
	parts := func() (cuts []string) {
		tp.cut()
		tp.run()
		for {
			f := tp.next()
			if f.Bytes > 2*tp.cfg.FeedBytes+40_000 {
				t.Errorf("a feed of %d bytes", f.Bytes)
			}
			for _, tx := range f.Txs {
				if len(tx.Changes) > tp.cfg.FeedChanges {
					t.Errorf("a part of %d changes", len(tx.Changes))
				}
				cuts = append(cuts, fmt.Sprint(tx.XID, tx.CommitLSN, len(tx.Changes), tx.First, tx.Last))
				if tx.EndLSN == whole[2].EndLSN {
					return cuts
				}
			}
		}
	}
	first := parts()
	if len(first) < 14 {
		t.Errorf("got %d parts, want the limits to cut", len(first))
	}
	for range 3 {
		if diff := cmp.Diff(first, parts()); diff != "" {
			t.Error(diff)
		}
	}
}

// Close reports what was acknowledged last, however long the interval is, and
// frees the slot.
func TestCloseReports(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE c (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE c")
	tp.cfg.StatusInterval = time.Hour
	tp.start()
	pg.Exec("INSERT INTO c VALUES (1)")
	end := tp.rewind()[0].EndLSN
	tp.read.Acknowledge(end)
	tp.close()
	if got := tp.confirmed(); got != end {
		t.Errorf("after Close the slot stands at %s, want %s", got, end)
	}
	if got := pg.Value("SELECT active FROM pg_replication_slots WHERE slot_name = '" + tp.cfg.Slot + "'"); got != "f" {
		t.Errorf("after Close the slot is active: %s", got)
	}
	if err := tp.read.Close(t.Context()); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// Close does not wait for the rest of a transaction that is being sent.
func TestCloseInTheMiddle(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE c (id int PRIMARY KEY, v text)")
	tp := newTape(t, pg, "TABLE c").start()
	pg.Exec("INSERT INTO c VALUES (0)")
	tp.rewind()
	pg.Exec("INSERT INTO c SELECT i, repeat('x', 200) FROM generate_series(1, 100000) i")
	f := tp.next()
	begun := time.Now()
	tp.close()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("Close took %s", took)
	}
	if got := f.Txs[len(f.Txs)-1]; got.Last {
		t.Errorf("the transaction came as a whole: %d changes", len(got.Changes))
	}
}

// case17: whatever else is written, the slot advances over it, but only after
// the consumer has stored the position.
func TestCase17Idle(t *testing.T) {
	for _, timeout := range []string{"60s", "0"} {
		t.Run("wal_sender_timeout_"+timeout, func(t *testing.T) {
			pg := harness.PostgresServer(t, 0, map[string]string{"wal_sender_timeout": timeout})
			pg.Exec("CREATE TABLE i (id int PRIMARY KEY); CREATE TABLE busy (id int)")
			tp := newTape(t, pg, "TABLE i")
			tp.cfg.IdleInterval = 200 * time.Millisecond
			tp.start()
			pg.Exec("INSERT INTO i VALUES (1)")
			tp.want("insert i [1]")
			begun := tp.confirmed()
			pg.Exec("INSERT INTO busy SELECT generate_series(1, 10000)")
			target, err := audit.ParseLSN(pg.Value("SELECT pg_current_wal_lsn()"))
			if err != nil {
				t.Fatal(err)
			}
			var marker audit.Tx
			for marker.EndLSN < target {
				f := tp.next()
				marker = f.Txs[len(f.Txs)-1]
			}
			if marker.XID != 0 || len(marker.Changes) != 0 || !marker.First || !marker.Last {
				t.Errorf("the position came with %+v", marker)
			}
			if got := tp.confirmed(); got != begun {
				t.Errorf("the slot moved from %s to %s although nothing was acknowledged", begun, got)
			}
			tp.read.Acknowledge(marker.EndLSN)
			tp.confirmedIs(marker.EndLSN)
		})
	}
}

// Markers are rare: a busy log does not flood the consumer with positions.
func TestIdleMarkersAreRare(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE i (id int PRIMARY KEY); CREATE TABLE busy (id int)")
	tp := newTape(t, pg, "TABLE i")
	tp.cfg.IdleInterval = time.Hour
	tp.start()
	for range 50 {
		pg.Exec("INSERT INTO busy VALUES (1)")
	}
	pg.Exec("INSERT INTO i VALUES (1)")
	for len(tp.txs) == 0 {
		for _, tx := range tp.next().Txs {
			if tx.XID == 0 {
				t.Errorf("a marker for %s came before its time", tx.EndLSN)
			}
		}
	}
}

// A consumer that is busy for longer than wal_sender_timeout does not cost the
// connection.
func TestBlockedConsumer(t *testing.T) {
	pg := harness.PostgresServer(t, 0, map[string]string{"wal_sender_timeout": "1s"})
	pg.Exec("CREATE TABLE b (id int PRIMARY KEY, v text)")
	tp := newTape(t, pg, "TABLE b")
	tp.cfg.StatusInterval, tp.cfg.SilenceTimeout = 10*time.Second, 2*time.Second
	tp.start()
	pg.Exec("INSERT INTO b SELECT i, repeat('x', 500) FROM generate_series(1, 30000) i")
	walsender := pg.Value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1 AND pg_sleep(4) IS NOT NULL", tp.cfg.Slot)
	if txs := tp.rewind(); len(txs) != 1 || len(txs[0].Changes) != 30000 {
		t.Errorf("got %d transactions", len(txs))
	}
	if got := pg.Value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1", tp.cfg.Slot); got != walsender || got == "" {
		t.Errorf("the walsender was %s and is %s", walsender, got)
	}
}

// An orderly shutdown of the server is not held up by us: a consumer that
// stores positions lets it end at once.
func TestServerShutdown(t *testing.T) {
	pg := harness.PostgresServer(t, 0, nil)
	pg.Exec("CREATE TABLE s (id int PRIMARY KEY); CREATE TABLE busy (id int)")
	tp := newTape(t, pg, "TABLE s")
	tp.cfg.StatusInterval = time.Hour
	tp.start()
	pg.Exec("INSERT INTO s VALUES (1)")
	tp.want("insert s [1]")
	consumer := make(chan error, 1)
	go func() {
		for {
			select {
			case f := <-tp.feeds:
				tp.read.Acknowledge(f.Txs[len(f.Txs)-1].EndLSN)
			case err := <-tp.ended:
				consumer <- err
				return
			}
		}
	}()
	pg.Exec("INSERT INTO busy VALUES (1)")
	begun := time.Now()
	pg.Stop()
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("the shutdown took %s", took)
	}
	if err := <-consumer; err == nil || errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("Run returned %v, want an error after which the caller tries again", err)
	}
	tp.stop = nil
	pg.Start()
	tp.run()
	pg.Exec("INSERT INTO s VALUES (2)")
	tp.want("insert s [2]")
}

// case18: a server that dies takes nothing with it.
func TestCase18ServerKilled(t *testing.T) {
	pg := harness.PostgresServer(t, 0, nil)
	pg.Exec("CREATE TABLE k (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE k").start()
	pg.Exec("INSERT INTO k VALUES (1)")
	first := tp.want("insert k [1]")
	tp.read.Acknowledge(first[0].EndLSN)
	tp.confirmedIs(first[0].EndLSN)
	pg.Exec("INSERT INTO k VALUES (2)")
	pg.Kill()
	if err := tp.failed(); err == nil || errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("Run returned %v, want an error after which the caller tries again", err)
	}
	tp.run()
	if err := tp.failed(); err == nil || errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("without a server: Run returned %v", err)
	}
	pg.Start()
	pg.Exec("INSERT INTO k VALUES (3)")
	tp.txs = nil
	tp.run()
	// The slot may stand where the last checkpoint saved it; the acknowledged
	// transaction must not come again all the same.
	tp.want(`message tape "end 1" true`, "insert k [2]", "insert k [3]")
}

// case16: memory does not grow with the transaction.
func TestCase16LargeTransaction(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE l (id int PRIMARY KEY, a text, b text, c timestamptz, d numeric)")
	tp := newTape(t, pg, "TABLE l").start()
	const rows = 200_000
	pg.Exec(fmt.Sprintf("INSERT INTO l SELECT i, 'label ' || i, repeat('x', 100), now(), i * 1.25 FROM generate_series(1, %d) i", rows))
	next, peak, parts := int64(1), uint64(0), 0
	for next <= rows {
		select {
		case f := <-tp.feeds:
			for _, tx := range f.Txs {
				for _, c := range tx.Changes {
					if got := string(c.New[0].Data); got != decimal(next) {
						t.Fatalf("row %s, want %d", got, next)
					}
					next++
				}
				parts++
			}
			if parts%4 == 0 {
				var m runtime.MemStats
				runtime.GC() // what is alive, not what has not been collected yet
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
				runtime.KeepAlive(f)
			}
		case err := <-tp.ended:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatal("no feed came")
		}
	}
	if parts < rows/tp.cfg.FeedChanges || peak > 32<<20 {
		t.Errorf("heap of %d MiB at the peak, %d parts", peak>>20, parts)
	}
	t.Logf("heap of %d MiB at the peak, %d parts", peak>>20, parts)
}

// Slot tells where the slot stands and what server it is on.
func TestSlot(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE s (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE s").start()
	pg.Exec("INSERT INTO s VALUES (1)")
	end := tp.rewind()[0].EndLSN
	tp.read.Acknowledge(end)
	tp.confirmedIs(end)
	s, err := tp.read.Slot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.ConfirmedFlush != end || s.CurrentLSN < end || s.Restart == 0 || s.Restart > end || s.Lag() != uint64(s.CurrentLSN-end) || s.Retained() < s.Lag() {
		t.Errorf("positions %+v", s)
	}
	if s.SystemID != pg.Value("SELECT system_identifier FROM pg_control_system()") || s.Timeline != 1 || s.Standby || s.ServerVersion < 180000 {
		t.Errorf("server %+v", s)
	}
	if s.Database != pg.Database || s.SlotDatabase != pg.Database || s.Plugin != "pgoutput" || s.WALStatus != "reserved" || s.SafeWALSize != -1 || s.ActivePID == 0 {
		t.Errorf("slot %+v", s)
	}
	tp.close()
	if s, err = tp.read.Slot(t.Context()); err != nil || s.ActivePID != 0 {
		t.Errorf("after Close: %v, held by %d", err, s.ActivePID)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tp.read.Slot(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
