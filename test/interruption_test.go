package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/test/network"
)

// Case 18: whatever interrupts the connection to PostgreSQL, and however, the
// stream goes on by itself behind it, and nothing is missing.
func TestCase18Interruptions(t *testing.T) {
	t.Parallel()
	pg := harness.PostgresServer(t, 0, map[string]string{"wal_sender_timeout": "1s"})
	pg.Exec(ordersTable)
	streams := strings.Replace(watchful("interrupted"), `"${SHOP_DSN}"`, `"${SHOP_DSN}", silence_timeout: 2s, connect_timeout: 2s, catalog_timeout: 2s`, 1)
	direct, s, toPG, _ := throughProxies(t, pg, harness.ClickHouse(t), streams)
	s.start()
	direct.sync(time.Minute)
	n := 0
	insert := func() {
		n++
		pg.Exec("INSERT INTO orders VALUES ($1, 'seen')", n)
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"restart", pg.Restart},
		{"immediate_shutdown", func() { pg.Quit(); pg.Start() }},
		{"kill", func() { pg.Kill(); pg.Start() }},
		{"wal_sender_timeout", func() { // the server gives a sidecar up that hangs
			s.mu.Lock()
			pid := s.process.Process.Pid
			s.mu.Unlock()
			signal(t, pid, syscall.SIGSTOP)
			insert()
			eventuallyIn(t, pg, "SELECT count(*) FROM pg_replication_slots WHERE active", "0")
			signal(t, pid, syscall.SIGCONT)
		}},
		{"cut", toPG.Reset},
		{"black_hole", func() {
			toPG.Turn(network.Hole)
			insert()
			eventuallyIn(t, pg, "SELECT count(*) FROM pg_replication_slots WHERE active", "0")
			toPG.Turn(network.Fair)
		}},
		{"half_open", func() { toPG.Halve(true) }},
		{"connection_to_look_for_new_tables_hangs", func() {
			h := hush{text: "pgwitness setup", heard: make(chan bool, 1)}
			toPG.Listen(h)
			select {
			case <-h.heard:
			case <-time.After(time.Minute):
				t.Fatal("nobody looks for new tables")
			}
			toPG.Listen(nil)
			pg.Exec("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			insert()
			c.do()
			insert()
			direct.sync(time.Minute)
			direct.declares()
			direct.foldEqualsTables("orders")
			if got := direct.query("SELECT count() FROM audit_logs WHERE table_name = 'orders'"); got != fmt.Sprint(n) {
				t.Errorf("%s entries of %d rows\n%s", got, n, s.tail())
			}
		})
	}
	s.stop()
}

// hush lets the connections hang on which the text is said.
type hush struct {
	text  string
	heard chan bool
}

func (h hush) Said(_ *network.Link, b []byte) network.Verdict {
	if !strings.Contains(string(b), h.text) {
		return network.Pass
	}
	select {
	case h.heard <- true:
	default: // it was heard before
	}
	return network.Vanish
}

func (h hush) Answered(*network.Link, []byte) network.Verdict { return network.Pass }

func signal(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// eventuallyIn waits until a query of a database has the wanted value.
func eventuallyIn(t testing.TB, pg *harness.PG, query, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); wait(50 * time.Millisecond) {
		if got = pg.Value(query); got == want {
			return
		}
	}
	t.Fatalf("%s is %q, want %q", query, got, want)
}

// Case 18: a failover to a promoted standby. Since 17 it can have the slot, and
// then the sidecar goes on as if nothing had happened, on another timeline.
// Without the slot, which is always so before 17, there is a gap.
func TestCase18Failover(t *testing.T) {
	t.Parallel()
	for _, version := range harness.PostgresVersions(t) {
		t.Run(version.String(), func(t *testing.T) {
			t.Parallel()
			copies := version.Major >= 17
			pg := harness.PostgresServer(t, version.Major, nil)
			pg.Exec(ordersTable)
			streams := watchful("failover_" + version.String())
			if copies {
				streams = strings.Replace(streams, `"${SHOP_DSN}"`, `"${SHOP_DSN}", failover: true`, 1)
			}
			direct, s, toPG, _ := throughProxies(t, pg, harness.ClickHouse(t), streams)
			s.start()
			pg.Exec("INSERT INTO orders VALUES (1, 'primary')")
			direct.sync(time.Minute)
			settings := map[string]string{}
			if copies {
				settings["sync_replication_slots"] = "on"
			}
			standby := pg.Standby(settings)
			if copies {
				pg.Exec("ALTER SYSTEM SET synchronized_standby_slots = '" + harness.StandbySlot + "'")
				pg.Exec("SELECT pg_reload_conf()")
				eventuallyIn(t, standby, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+direct.cfg.Streams[0].Postgres.Slot+"' AND synced AND NOT temporary", "1")
			}
			pg.Exec("INSERT INTO orders SELECT i, 'primary' FROM generate_series(2, 500) AS i")
			pg.Kill() // what the standby has not got is lost, and must not be in the trail
			standby.Promote()
			toPG.Lead(network.Host(t, standby.DSN()))
			s.pg = standby

			if !copies {
				s.endsWith(5, "slot_missing")
				s.resumes("slot_missing")
				s.stop()
				return
			}
			standby.Exec("INSERT INTO orders VALUES (1001, 'standby')")
			s.sync(time.Minute)
			s.declares()
			s.foldEqualsTables("orders")
			if got := s.query("SELECT countIf(new_values LIKE '%standby%') FROM audit_logs WHERE table_name = 'orders'"); got != "1" {
				t.Errorf("%s entries from the standby\n%s", got, s.tail())
			}
			s.stop()
			s.start()
			s.eventually(`SELECT max(JSONExtractUInt(assumeNotNull(new_values), 'timeline')) FROM audit_logs WHERE action = 'start'`, "2")
			s.stop()
		})
	}
}
