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

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/test/harness"
)

// What can go wrong with a spool, one thing after another on one stream. The
// first phases lose nothing, the last one a part of the spool, and says so.
func TestSpoolInTrouble(t *testing.T) {
	t.Parallel()
	pg, ch := harness.PostgresServer(t, 0, nil), harness.ClickHouseServer(t)
	newStock(pg)
	s := newSidecar(t, pg, ch, spoolConfig(1<<20, 1<<30, 1<<17))
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
		{"killed", u.killed}, {"behind", u.behind}, {"full", u.full}, {"damaged", u.damaged},
		{"elsewhere", u.elsewhere}, {"lost", u.lost}, {"shortened", u.shortened},
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

// acknowledging is spooling, until the slot is acknowledged from the spool.
func (u *troubled) acknowledging(segments int) (files []string) {
	u.t.Helper()
	files = u.spooling(segments)
	var saved audit.LSN
	u.until("a position is saved in the spool", time.Minute, func() bool {
		u.book(1)
		saved = u.spoolState().Saved
		return saved > 0
	})
	u.until("the slot is acknowledged", time.Minute, func() bool {
		return u.pg.Value("SELECT confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots", saved.String()) == "t"
	})
	return files
}

// said reports whether the sidecar ever logged text.
func (u *troubled) said(text string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Contains(u.log.String(), text)
}

// recovered checks that nothing is missing once ClickHouse is back, and stops.
func (u *troubled) recovered() {
	u.t.Helper()
	u.ch.Start()
	u.sync(2 * time.Minute)
	u.untilDrained(2 * time.Minute)
	u.foldEqualsTables("stock")
	u.stop()
}

// killed: kill -9 of the sidecar under load, while it spools and while the
// spool drains.
func (u *troubled) killed() {
	load, stopLoad := context.WithCancel(u.t.Context())
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			conn := u.pg.Connect()
			defer conn.Close(context.Background())
			for load.Err() == nil {
				if _, err := book(u.t.Context(), conn, 1+rand.IntN(100)); err != nil {
					return err
				}
				wait(50 * time.Millisecond)
			}
			return nil
		})
	}
	rounds := u.rounds()
	for range rounds {
		u.ch.Kill()
		u.killEvery(3, 800*time.Millisecond)
		before := u.spoolState().Entries
		u.until("spooling goes on after a start without ClickHouse", time.Minute, func() bool { return u.spoolState().Entries > before })
		u.ch.Start()
		u.killEvery(3, 600*time.Millisecond)
	}
	stopLoad()
	if err := g.Wait(); err != nil {
		u.t.Fatal(err)
	}
	u.recovered()
	r := u.verified()
	u.t.Logf("%d kills, %d entries, none lost, none double", 6*rounds, r.Size)
}

// rounds is how often a phase repeats what is left to chance: once by default,
// more often by make torture.
func (u *troubled) rounds() int {
	lasts, err := time.ParseDuration(os.Getenv(tortureTime))
	if err != nil {
		return 1
	}
	return 1 + int(lasts.Minutes())
}

// killEvery kills and starts the sidecar n times.
func (u *troubled) killEvery(n int, most time.Duration) {
	for range n {
		wait(rand.N(most))
		u.kill()
		u.start()
	}
}

// behind: sidecar and ClickHouse die together, so that what the local disk
// knows of the chain may be older than the trail. The stream goes on without
// ClickHouse all the same, and what was stored already is found out later.
func (u *troubled) behind() {
	u.start()
	for range u.rounds() {
		for began := time.Now(); time.Since(began) < 600*time.Millisecond+rand.N(700*time.Millisecond); wait(20 * time.Millisecond) {
			u.book(1 + rand.IntN(200))
		}
		u.kill()
		u.ch.Kill()
		u.start()
		u.book(10)
		u.until("the stream goes on without ClickHouse", time.Minute, func() bool { return u.spoolState().Entries > 0 })
		if rand.IntN(2) == 0 {
			u.kill()
			u.start()
		}
		u.ch.Start()
		u.untilDrained(2 * time.Minute)
	}
	u.recovered()
	u.reconfigured()
}

// reconfigured: another configuration may make other entries of the log that is
// delivered again, so it waits for ClickHouse to say what is stored.
func (u *troubled) reconfigured() {
	u.ch.Kill()
	u.edit("    tables:", "    heartbeat_interval: 30s\n    tables:")
	other := u.second()
	other.start()
	u.book(10)
	other.says("stream interrupted", time.Minute)
	if st := u.spoolState(); st.Active {
		u.t.Errorf("another configuration begins a spool behind what it cannot know: %+v", st)
	}
	u.ch.Start()
	u.sync(time.Minute)
	other.stop()
}

// full: the server keeps the log after all, and nothing is lost; there is room
// again when ClickHouse is back.
func (u *troubled) full() {
	u.limit(1<<30, 2<<20)
	u.spooling(3)
	u.until("the spool is full", time.Minute, func() bool {
		u.book(1000)
		return u.said("spool cannot be written to")
	})
	if b := u.spoolState().Bytes; b > 2<<20+4096 {
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
	u.limit(2<<20, 1<<30)
}

// limit changes the size that the spool may have.
func (u *troubled) limit(from, to int64) {
	u.t.Helper()
	u.edit(fmt.Sprintf("max_bytes: %d", from), fmt.Sprintf("max_bytes: %d", to))
}

// edit changes the configuration.
func (u *troubled) edit(from, to string) {
	u.t.Helper()
	text := strings.Replace(string(read(u.t, u.file)), from, to, 1)
	if err := os.WriteFile(u.file, []byte(text), 0o600); err != nil {
		u.t.Fatal(err)
	}
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
	u.acknowledging(3)
	u.kill()
	u.ch.Start()
	other := u.elsewhereWith("signing.key")
	other.refuses("has spooled entries of this stream")
	other.prints(5, []string{"resume"}, "has spooled entries of this stream", "nothing was changed")
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
	files := u.acknowledging(4)
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

// shortened: the end of the trail was deleted while nobody was at work. The
// sidecar knows what it has stored, and does not write over the hole.
func (u *troubled) shortened() {
	u.ch.Exec(fmt.Sprintf("ALTER TABLE %s.audit_logs DELETE WHERE sequence >= (SELECT max(sequence) - 2 FROM %[1]s.audit_logs) SETTINGS mutations_sync = 1", u.ch.Database))
	u.refuses("were stored")
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
