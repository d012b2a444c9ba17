package cdc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// lanes counts the lanes that a Reader took, by what it logs.
type lanes struct {
	out               io.Writer
	fetched, streamed atomic.Int32
}

func (l *lanes) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(`"backlog":true`)) {
		l.fetched.Add(1)
	}
	if bytes.Contains(line, []byte(`"backlog":false`)) {
		l.streamed.Add(1)
	}
	return l.out.Write(line)
}

// watched lets the tape's next Reader count its lanes.
func (tp *tape) watched() *lanes {
	l := &lanes{out: zerolog.NewTestWriter(tp.t)}
	tp.log = zerolog.New(l)
	return l
}

// acknowledge says of all transactions that they are stored.
func (tp *tape) acknowledge(txs []audit.Tx) {
	for _, tx := range txs {
		tp.read.Acknowledge(tx.EndLSN)
	}
}

// The reader changes lanes again and again, in both directions, and everything
// comes once and in order: rows, and messages outside of transactions, which
// have positions that cannot be acknowledged.
func TestBacklogHandsOver(t *testing.T) {
	for _, v := range harness.PostgresVersions(t) {
		t.Run(v.String(), func(t *testing.T) { handOver(t, harness.PostgresServer(t, v.Major, nil)) })
	}
}

func handOver(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE n (id int PRIMARY KEY, v text)")
	tp := newTape(t, pg, "TABLE n")
	tp.cfg.Backlog, tp.cfg.BacklogWindow = 64<<10, 96<<10
	lanes := tp.watched()
	tp.start()
	deadline := time.Now().Add(patience)
	for round := 0; lanes.fetched.Load() < 3; round++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d backlogs and %d streams after %s", lanes.fetched.Load(), lanes.streamed.Load(), patience)
		}
		// The Reader waits for us meanwhile, and so falls behind, unless it is
		// just within a transaction when it looks.
		var want []string
		for i := range 8 {
			first := round*10_000 + i*1000
			pg.Exec(fmt.Sprintf("SELECT pg_logical_emit_message(false, 'n', 'before %d')", first))
			pg.Exec(fmt.Sprintf("INSERT INTO n SELECT i, repeat('x', 100) FROM generate_series(%d, %d) AS i", first, first+499))
			want = append(want, fmt.Sprintf(`message n "before %d" false`, first))
			for id := first; id < first+500; id++ {
				want = append(want, fmt.Sprintf("insert n [%d xxx…100]", id))
			}
		}
		txs := tp.rewind()
		tp.acknowledge(txs)
		if diff := cmp.Diff(want, shorts(txs)); diff != "" {
			t.Fatalf("round %d: %s", round, diff)
		}
		tp.until(func() bool { return lanes.streamed.Load() > 0 && lanes.streamed.Load() >= lanes.fetched.Load() })
	}
}

// until takes feeds until something has happened.
func (tp *tape) until(happened func() bool) {
	tp.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !happened(); {
		select {
		case f := <-tp.feeds:
			tp.take(f)
		case err := <-tp.ended:
			tp.stop = nil
			tp.t.Fatalf("Run ended: %v", err)
		case now := <-tick.C:
			if now.After(deadline) {
				tp.t.Fatalf("it has not happened within %s", patience)
			}
		}
	}
}

// What was acknowledged while a backlog was fetched is never sent again, and
// what was not is, although the cursor was ahead of it: after a crash as well
// as after a close, which leaves nothing of ours on the server.
func TestBacklogIsNotTheSlot(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE c (id int PRIMARY KEY, v text)")
	tp := newTape(t, pg, "TABLE c")
	tp.cfg.Backlog, tp.cfg.BacklogWindow = 1, 8<<10
	for i := range 20 {
		pg.Exec("INSERT INTO c VALUES ($1, repeat('x', 1000))", i)
	}
	lanes := tp.watched()
	all := tp.start().rewind()
	if lanes.fetched.Load() != 1 || len(all) != 20 {
		t.Fatalf("%d transactions came by %d backlogs", len(all), lanes.fetched.Load())
	}
	tp.acknowledge(all[:5])
	tp.confirmedIs(all[4].EndLSN)
	tp.cut()
	tp.noCursors()

	tp.start()
	if diff := cmp.Diff(shorts(all[5:]), shorts(tp.rewind()[:15])); diff != "" {
		t.Errorf("after a crash: %s", diff)
	}
	tp.acknowledge(all[:10])
	tp.close()
	if got := tp.confirmed(); got != all[9].EndLSN {
		t.Errorf("after the close the slot stands at %s, want %s", got, all[9].EndLSN)
	}
	tp.noCursors()
	tp.start()
	if diff := cmp.Diff(shorts(all[10:]), shorts(tp.rewind()[:10])); diff != "" {
		t.Errorf("after a close: %s", diff)
	}
}

// noCursors waits until the server has no copy of the slot any more.
func (tp *tape) noCursors() {
	tp.t.Helper()
	tp.eventually("SELECT count(*) FROM pg_replication_slots WHERE temporary", "0")
}

// Two sessions take windows in turn, which begin and end anywhere: within records,
// within transactions, behind a change of the table. Together they deliver what
// a stream does.
func TestBacklogWindowsJoin(t *testing.T) {
	for _, v := range harness.PostgresVersions(t) {
		t.Run(v.String(), func(t *testing.T) {
			pg := harness.PostgresServer(t, v.Major, nil)
			pg.Exec("CREATE TABLE j (id int PRIMARY KEY, v text); ALTER TABLE j REPLICA IDENTITY FULL")
			streamed, fetched := newTape(t, pg, "TABLE j"), newTape(t, pg, "TABLE j")
			writeJoin(t, pg)
			streamed.cfg.Backlog = -1
			want := shorts(streamed.start().rewind())
			for _, window := range []int64{300, 20_000} {
				fetched.cfg.Backlog, fetched.cfg.BacklogWindow = 1, window
				fetched.start()
				got := slices.DeleteFunc(shorts(fetched.rewind()), func(s string) bool { return strings.HasPrefix(s, "message tape ") })
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("windows of %d bytes: %s", window, diff)
				}
				if n := pg.Value("SELECT count(*) FROM pg_replication_slots WHERE temporary"); n != "2" {
					t.Errorf("windows of %d bytes: %s cursors, want 2", window, n)
				}
				fetched.cut()
				fetched.noCursors()
			}
		})
	}
}

// writeJoin writes short and long transactions, one that is open all the time,
// and what belongs to none.
func writeJoin(t *testing.T, pg *harness.PG) {
	t.Helper()
	long := pg.Connect()
	defer long.Close(t.Context())
	in := func(sql string) {
		if _, err := long.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	in("BEGIN")
	for i := range 30 {
		first := i * 1000
		pg.Exec(fmt.Sprintf("INSERT INTO j SELECT n, repeat('x', n %% 300) FROM generate_series(%d, %d) n", first, first+i%7))
		in(fmt.Sprintf("INSERT INTO j VALUES (%d, repeat('y', 2000))", first+999))
		pg.Exec(fmt.Sprintf("SELECT pg_logical_emit_message(false, 'j', 'at %d')", i))
		pg.Exec(fmt.Sprintf("BEGIN; DELETE FROM j WHERE id = %d; ROLLBACK", first))
		pg.Exec(fmt.Sprintf("UPDATE j SET v = 'z' WHERE id = %d", first))
	}
	in("COMMIT")
	pg.Exec("ALTER TABLE j ADD w int DEFAULT 5; UPDATE j SET w = 6 WHERE id < 5000; INSERT INTO j VALUES (-1, 'end', 1)")
}

// Without a slot to spare the backlog is streamed.
func TestBacklogWithoutCursor(t *testing.T) {
	v := harness.PostgresVersions(t)[0]
	pg := harness.PostgresServer(t, v.Major, map[string]string{"max_replication_slots": "1"})
	pg.Exec("CREATE TABLE w (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE w")
	tp.cfg.Backlog = 1
	pg.Exec("INSERT INTO w VALUES (1)")
	lanes := tp.watched()
	tp.start().want("insert w [1]")
	pg.Exec("INSERT INTO w VALUES (2)")
	tp.want("insert w [2]")
	if lanes.fetched.Load() != 0 || lanes.streamed.Load() != 1 {
		t.Errorf("%d backlogs, %d streams", lanes.fetched.Load(), lanes.streamed.Load())
	}
}

// A server that dies under a backlog ends Run, and the next one goes on.
func TestBacklogCut(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE k (id int PRIMARY KEY, v text)")
	tp := newTape(t, pg, "TABLE k")
	tp.cfg.Backlog = 1
	pg.Exec("INSERT INTO k SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) AS i")
	tp.start()
	tp.next()
	pg.Exec("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE temporary")
	if err := tp.throwAway(); err == nil || errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("Run ended with %v", err)
	}
	tp.txs = nil
	tp.run()
	if txs := tp.rewind(); len(txs) != 1 || len(txs[0].Changes) != 20_000 {
		t.Errorf("%d transactions after the cut", len(txs))
	}
}

// throwAway takes feeds until Run ends, and returns its error.
func (tp *tape) throwAway() error {
	for {
		select {
		case <-tp.feeds:
		case err := <-tp.ended:
			return err
		case <-time.After(patience):
			tp.t.Fatal("Run does not end")
		}
	}
}

// A row of the COPY that is not what it should be is an error with its bytes.
func TestBacklogRows(t *testing.T) {
	header := append([]byte(copyHeader), make([]byte, 8)...)
	row := func(lsn uint64, data string) []byte {
		b := append([]byte{0, 2, 0, 0, 0, 8}, binary.BigEndian.AppendUint64(nil, lsn)...)
		return append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
	}
	b := &fetcher{socket: socket{wire: newWire(nil)}}
	if f, ok, err := b.row(append(header, row(7, "Bx")...)); err != nil || !ok || f.lsn != 7 || string(f.message) != "Bx" {
		t.Errorf("first row: %+v %t %v", f, ok, err)
	}
	if f, ok, err := b.row(row(8, "C")); err != nil || !ok || f.lsn != 8 || string(f.message) != "C" {
		t.Errorf("second row: %+v %t %v", f, ok, err)
	}
	if _, ok, err := b.row([]byte{0xff, 0xff}); ok || err != nil {
		t.Errorf("trailer: %t %v", ok, err)
	}
	for _, bad := range [][]byte{{}, {0}, row(1, "x")[:17], append(row(1, "x"), 0), {0, 3, 0, 0, 0, 8}} {
		if len(bad) == 0 {
			continue
		}
		if _, ok, err := b.row(bad); ok || err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
	other := &fetcher{socket: socket{wire: newWire(nil)}}
	if _, ok, err := other.row(row(1, "x")); ok || err == nil {
		t.Error("a COPY without header was taken")
	}
}

// A consumer that takes nothing for long ends the backlog: its statement must
// not hold a snapshot for ever.
func TestBacklogHeld(t *testing.T) {
	b := &backlog{reading: &fetcher{running: true}, given: time.Now().Add(-time.Hour), heard: time.Now().Add(-time.Hour + time.Second), advancer: &advancer{line: &sideline{}}}
	if err := b.confirm(1); err == nil {
		t.Error("a window that was held for an hour goes on")
	}
	b.given = time.Now() // it waits for the server, not for us
	if err := b.confirm(0); err != nil {
		t.Error(err)
	}
	if err := b.advancer.close(context.Background()); err != nil {
		t.Error(err)
	}
}
