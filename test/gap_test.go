package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
)

// watchful is the configuration of a stream over table orders that looks after
// itself several times a second.
func watchful(stream string) string {
	return fmt.Sprintf("streams:\n  - name: %s\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: \"public.*\"}]\n"+
		"    heartbeat_interval: 300ms\n    watch_interval: 200ms\n", stream)
}

const ordersTable = "CREATE TABLE orders (id int PRIMARY KEY, status text)"

// newWatched is a sidecar that has captured order 1.
func newWatched(t testing.TB, pg *harness.PG, stream string) *sidecar {
	t.Helper()
	pg.Exec(ordersTable)
	s := newSidecar(t, pg, harness.ClickHouse(t), watchful(stream))
	s.start()
	pg.Exec("INSERT INTO orders VALUES (1, 'seen')")
	s.sync(time.Minute)
	return s
}

// query returns the one value of a query in the database of the trail.
func (s *sidecar) query(query string) string {
	s.t.Helper()
	return s.ch.Value(strings.ReplaceAll(query, "audit_logs", s.ch.Database+".audit_logs"))
}

// eventually waits until a query has the wanted value.
func (s *sidecar) eventually(query, want string) {
	s.t.Helper()
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); wait(50 * time.Millisecond) {
		if got = s.query(query); got == want {
			return
		}
	}
	s.t.Fatalf("%s is %q, want %q\n%s", query, got, want, s.tail())
}

// freeSlot is the slot of the last stream, once nobody reads it: a server takes
// its time to notice that a sidecar has ended.
func (s *sidecar) freeSlot() string {
	s.t.Helper()
	slot := s.cfg.Streams[len(s.cfg.Streams)-1].Postgres.Slot
	eventuallyIn(s.t, s.pg, "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = '"+slot+"'", "0")
	return slot
}

// refuses starts the sidecar, which must end by itself because a human must
// look, and say this.
func (s *sidecar) refuses(why string) {
	s.t.Helper()
	s.start()
	s.endsWith(5, why)
}

// endsWith waits for the sidecar to end by itself.
func (s *sidecar) endsWith(code int, why string) {
	s.t.Helper()
	s.mu.Lock()
	process, done := s.process, s.done
	s.process = nil
	s.mu.Unlock()
	select {
	case <-done:
	case <-time.After(time.Minute):
		_ = process.Process.Kill()
		<-done
		s.t.Fatalf("the sidecar does not stop\n%s", s.tail())
	}
	if got := process.ProcessState.ExitCode(); got != code || !strings.Contains(s.tail(), why) {
		s.t.Fatalf("the sidecar ended with exit code %d, want %d and %q\n%s", got, code, why, s.tail())
	}
}

// prints runs a verb that must end with the exit code and print all of texts.
func (s *sidecar) prints(code int, args []string, texts ...string) {
	s.t.Helper()
	out, got := s.run(args...)
	if got != code {
		s.t.Fatalf("pgwitness %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			s.t.Errorf("pgwitness %s does not print %q:\n%s", strings.Join(args, " "), text, out)
		}
	}
}

// resumes accepts the gap, goes on behind it, and checks that the next change
// is captured, that the chain holds, and that it declares exactly the gaps.
func (s *sidecar) resumes(causes ...string) pgwitness.Report {
	s.t.Helper()
	last := causes[len(causes)-1]
	before := s.query("SELECT count() FROM audit_logs")
	s.prints(5, []string{"status"}, "STOPPED", "pgwitness resume")
	s.prints(5, []string{"resume"}, last, "nothing was changed", "--accept-gap")
	s.prints(1, []string{"resume", "--accept-gap"}, "a reason is missing")
	if after := s.query("SELECT count() FROM audit_logs"); after != before {
		s.t.Errorf("%s entries, %s before anything was accepted", after, before)
	}
	s.prints(0, []string{"resume", "--accept-gap", "--operator", "ada@example.com", "--reason", "the disk was full"}, last, "is recorded")
	s.prints(0, []string{"resume"}, "nothing is missing")
	s.start()
	s.pg.Exec("INSERT INTO orders VALUES (1000 + (SELECT count(*) FROM orders), 'after')")
	s.sync(time.Minute)
	r := s.declares(causes...)
	s.prints(0, []string{"status"}, "1 gaps declared")
	return r
}

// declares checks that the chain holds and declares these gaps, in order.
func (s *sidecar) declares(causes ...string) pgwitness.Report {
	s.t.Helper()
	r := s.verified()
	var got []string
	for _, g := range r.Gaps {
		got = append(got, g.Cause)
	}
	if strings.Join(got, ",") != strings.Join(causes, ",") {
		s.t.Fatalf("the trail declares the gaps %v, want %v: %+v\n%s", got, causes, r.Gaps, s.tail())
	}
	return r
}

func (s *sidecar) orders() string {
	return s.query("SELECT arrayStringConcat(groupArray(assumeNotNull(resource_id)), ',') FROM (SELECT resource_id FROM audit_logs WHERE table_name = 'orders' ORDER BY sequence)")
}

// Cases 18 and 19: whatever happens to the slot, changes are never skipped
// silently. The stream stops, the operator accepts a gap, and the gap is an
// entry that verify knows.
func TestGapOfASlot(t *testing.T) {
	t.Parallel()
	drop := func(s *sidecar) {
		s.pg.Exec("SELECT pg_drop_replication_slot($1)", s.freeSlot())
	}
	for _, c := range []struct {
		name, cause string
		do          func(s *sidecar)
	}{
		{"dropped", "slot_missing", func(s *sidecar) {
			drop(s)
			s.pg.Exec("INSERT INTO orders VALUES (2, 'lost')")
		}},
		{"made_anew", "slot_advanced", func(s *sidecar) {
			drop(s)
			s.pg.Exec("INSERT INTO orders VALUES (2, 'lost')")
			s.must("setup")
		}},
		{"advanced", "slot_advanced", func(s *sidecar) {
			s.pg.Exec("INSERT INTO orders VALUES (2, 'lost')")
			s.pg.Exec("SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", s.freeSlot())
		}},
		{"publication_dropped", "publication_missing", func(s *sidecar) {
			s.pg.Exec("DROP PUBLICATION " + s.cfg.Streams[0].Postgres.Publication)
			s.pg.Exec("INSERT INTO orders VALUES (2, 'lost')")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newWatched(t, harness.Postgres(t), "gap_"+c.name)
			s.stop()
			c.do(s)
			s.refuses(c.cause)
			r := s.resumes(c.cause)
			if got := s.orders(); !strings.HasPrefix(got, "1,100") {
				t.Errorf("captured the orders %s, want 1 and one behind the gap", got)
			}
			if g := r.Gaps[0]; g.Operator != "ada@example.com" || g.Reason != "the disk was full" || g.From == "" || g.To == "" || g.FromTime == "" {
				t.Errorf("the gap is not told: %+v", g)
			}
			s.stop()
		})
	}
}

// The log behind the slot was removed while the sidecar hung: the server ends
// the connection, and the sidecar finds out why.
func TestGapOfAnInvalidatedSlotInTheMiddleOfTheStream(t *testing.T) {
	t.Parallel()
	pg := harness.PostgresServer(t, 0, map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB"})
	s := newWatched(t, pg, "invalidated")
	signalled := func(sig syscall.Signal) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.process.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	signalled(syscall.SIGSTOP)
	pg.Exec("CREATE TABLE noise (t text)") // not of the publication: it was made later
	for range 6 {
		pg.Exec("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
		pg.Exec("SELECT pg_switch_wal()")
	}
	pg.Exec("CHECKPOINT")
	if got := pg.Value("SELECT wal_status FROM pg_replication_slots"); got != "lost" {
		t.Fatalf("the slot is %s, want lost", got)
	}
	signalled(syscall.SIGCONT)
	s.endsWith(5, "slot")
	s.resumes("slot_invalidated")
	s.stop()
}

// A crash of PostgreSQL loses nothing, and is no gap.
func TestNoGapAfterACrashOfPostgres(t *testing.T) {
	t.Parallel()
	pg := harness.PostgresServer(t, 0, nil)
	s := newWatched(t, pg, "crash")
	for i := range 3 {
		pg.Kill()
		pg.Start()
		pg.Exec("INSERT INTO orders VALUES ($1, 'seen')", i+2)
	}
	s.sync(time.Minute)
	s.declares()
	s.foldEqualsTables("orders")
	if got := s.orders(); got != "1,2,3,4" {
		t.Errorf("captured the orders %s", got)
	}
	s.stop()
}

// copyServer copies the data of a stopped server, or puts a copy back.
func copyServer(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}

// promote makes the server come up as a restored backup or a promoted standby
// does: on a timeline of its own.
func promote(t *testing.T, data string) {
	t.Helper()
	signal := filepath.Join(data, "recovery.signal")
	if out, err := exec.Command("cp", "-a", filepath.Join(data, "PG_VERSION"), signal).CombinedOutput(); err != nil {
		t.Fatalf("write %s: %v\n%s", signal, err, out)
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conf.WriteString("restore_command = 'false'\n"); err != nil {
		t.Fatal(err)
	}
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
}

// recovered waits until the server takes writes: it takes connections before.
func recovered(t *testing.T, pg *harness.PG) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); pg.Value("SELECT pg_is_in_recovery()::int") != "0"; {
		if time.Now().After(deadline) {
			t.Fatal("the server is still in recovery")
		}
		pg.Exec("SELECT pg_sleep(0.05)")
	}
}

// Case 18: a server that comes up on another timeline, and one that comes back
// from a backup.
func TestGapOfAnotherHistory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		restored bool // to before what was stored
		promoted bool // on another timeline
		writes   bool // so much that the log is longer than it was
		cause    string
	}{
		{name: "promoted_with_everything", promoted: true},
		{name: "promoted_without_all", restored: true, promoted: true, writes: true, cause: "history_forked"},
		{name: "restored", restored: true, cause: "log_behind"},
		{name: "restored_on_a_new_timeline", restored: true, promoted: true, cause: "history_forked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pg := harness.PostgresServer(t, 0, nil)
			s := newWatched(t, pg, c.name)
			data := pg.Value("SHOW data_directory")
			backup := data + ".backup"
			t.Cleanup(func() { os.RemoveAll(backup) })
			s.stop()
			pg.Stop()
			copyServer(t, data, backup)
			pg.Start()
			s.start()
			pg.Exec("INSERT INTO orders SELECT i, 'before' FROM generate_series(2, 500) AS i")
			s.sync(time.Minute)
			s.stop()
			pg.Stop()
			if c.restored {
				copyServer(t, backup, data)
			}
			if c.promoted {
				promote(t, data)
			}
			pg.Start()
			recovered(t, pg)
			if c.writes {
				pg.Exec("INSERT INTO orders SELECT i, 'elsewhere' FROM generate_series(2, 2000) AS i")
			}
			if c.cause == "" {
				s.start()
				pg.Exec("INSERT INTO orders VALUES (3000, 'after')")
				s.sync(time.Minute)
				s.declares()
				s.foldEqualsTables("orders")
				s.stop()
				return
			}
			s.refuses(c.cause)
			s.resumes(c.cause)
			// Positions start again below those that are stored: what comes is
			// neither swallowed, nor doubled by a restart.
			s.kill()
			s.start()
			pg.Exec("INSERT INTO orders SELECT i, 'again' FROM generate_series(5001, 5100) AS i")
			s.sync(time.Minute)
			s.kill()
			s.start()
			pg.Exec("INSERT INTO orders VALUES (5101, 'again')")
			s.sync(time.Minute)
			s.declares(c.cause)
			if got := s.query("SELECT concat(toString(count()), ' ', toString(uniqExact(resource_id))) FROM audit_logs WHERE new_values LIKE '%again%'"); got != "101 101" {
				t.Errorf("entries behind the gap, and different ones: %s", got)
			}
			s.stop()
		})
	}
}

// Start, stop, a changed configuration and heartbeats are entries.
func TestLifeOfTheSidecarIsInTheTrail(t *testing.T) {
	t.Parallel()
	s := newWatched(t, harness.Postgres(t), "life")
	s.eventually("SELECT count() >= 3 FROM audit_logs WHERE action = 'heartbeat' AND resource_type = 'pgwitness.stream'", "1")
	s.stop()
	if got := s.query("SELECT action FROM audit_logs ORDER BY sequence DESC LIMIT 1"); got != "stop" {
		t.Errorf("the last entry of a stopped sidecar is %q", got)
	}
	s.prints(0, []string{"verify", "--max-age", "1h"}, "freshness     HOLDS")
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "heartbeat_interval: 300ms", "heartbeat_interval: 0s", 1)
	if err := os.WriteFile(s.file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	const starts = "SELECT arrayStringConcat(groupArray(if(JSONHas(v, 'configuration_before'), 'changed', 'same')), ',') FROM (SELECT assumeNotNull(new_values) AS v FROM audit_logs WHERE action = 'start' ORDER BY sequence)"
	s.start()
	s.eventually(starts, "same,changed")
	s.stop()
	s.start()
	s.eventually(starts, "same,changed,same")
	s.kill()
	if got := s.query("SELECT count() FROM audit_logs WHERE action = 'stop'"); got != "2" {
		t.Errorf("%s entries stop, want 2: a killed sidecar writes none", got)
	}
	if got := s.query("SELECT any(actor_id) FROM audit_logs WHERE action = 'heartbeat' AND resource_type = 'pgwitness.stream'"); got != "system:pgwitness" {
		t.Errorf("a heartbeat is of %q", got)
	}
	s.verified()
}

// Case 17: nothing happens in the audited tables, and no heartbeat either, and
// still the slot advances over what others write.
func TestIdleStreamLetsTheSlotAdvance(t *testing.T) {
	t.Parallel()
	pg := harness.Postgres(t)
	pg.Exec(ordersTable)
	pg.Exec("CREATE TABLE noise (text text)")
	s := newSidecar(t, pg, harness.ClickHouse(t), "streams:\n  - name: idle\n    postgres: {dsn: \"${SHOP_DSN}\", idle_interval: 300ms, status_interval: 300ms}\n"+
		"    tables: [{name: public.orders}]\n    heartbeat_interval: 0s\n")
	s.start()
	s.sync(time.Minute)
	entries := s.query("SELECT count() FROM audit_logs")
	pg.Exec("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
	end := pg.Value("SELECT pg_current_wal_lsn()")
	for deadline := time.Now().Add(time.Minute); pg.Value("SELECT confirmed_flush_lsn >= $1::pg_lsn FROM pg_replication_slots WHERE slot_name = 'pgwitness_idle'", end) != "t"; wait(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the slot does not advance\n%s", s.tail())
		}
	}
	if got := s.query("SELECT count() FROM audit_logs"); got != entries {
		t.Errorf("%s entries, %s before nothing happened", got, entries)
	}
	s.stop()
}

// What is asked of the catalogs while a stream runs is understood by every
// version: an edit is seen, and a slot that was made anew is refused.
func TestGapsOnEveryVersion(t *testing.T) {
	t.Parallel()
	for _, version := range harness.PostgresVersions(t) {
		t.Run(version.String(), func(t *testing.T) {
			t.Parallel()
			pg := harness.PostgresServer(t, version.Major, nil)
			s := newWatched(t, pg, "every_"+version.String())
			pg.Exec("ALTER PUBLICATION pgwitness_" + s.cfg.Streams[0].Name + " DROP TABLE orders")
			s.eventually("SELECT count() FROM audit_logs WHERE action = 'publication_changed' AND new_values LIKE '%taken out%'", "1")
			s.must("setup")
			s.eventually("SELECT count() FROM audit_logs WHERE action = 'publication_changed' AND new_values LIKE '%published from now on%'", "1")
			s.must("acknowledge", "--reason", "an exercise")
			s.stop()
			pg.Exec("SELECT pg_drop_replication_slot($1)", s.freeSlot())
			s.must("setup")
			s.refuses("slot_advanced")
			s.resumes("publication_edited", "slot_advanced")
			s.stop()
		})
	}
}
