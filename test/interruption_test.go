package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
)

// Case 18: whatever interrupts the connection to PostgreSQL, and however, the
// stream goes on by itself behind it, and nothing is missing.
func TestCase18Interruptions(t *testing.T) {
	pg := harness.PostgresServer(t, 0, map[string]string{"wal_sender_timeout": "1s"})
	pg.Exec(ordersTable)
	streams := strings.Replace(watchful("interrupted"), `"${SHOP_DSN}"`, `"${SHOP_DSN}", silence_timeout: 2s, connect_timeout: 2s`, 1)
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
		{"cut", toPG.reset},
		{"black_hole", func() {
			toPG.turn(hole)
			insert()
			eventuallyIn(t, pg, "SELECT count(*) FROM pg_replication_slots WHERE active", "0")
			toPG.turn(fair)
		}},
		{"half_open", func() { toPG.halve(true) }},
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

func signal(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// eventuallyIn waits until a query of a database has the wanted value.
func eventuallyIn(t *testing.T, pg *harness.PG, query, want string) {
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
	for _, version := range harness.PostgresVersions(t) {
		t.Run(version.String(), func(t *testing.T) {
			copies := version.Major >= 17
			pg := harness.PostgresServer(t, version.Major, nil)
			pg.Exec(ordersTable)
			streams := watchful("failover")
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
				eventuallyIn(t, standby, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pgwitness_failover' AND synced AND NOT temporary", "1")
			}
			pg.Exec("INSERT INTO orders SELECT i, 'primary' FROM generate_series(2, 500) AS i")
			pg.Kill() // what the standby has not got is lost, and must not be in the trail
			standby.Promote()
			toPG.lead(hostOf(t, standby.DSN()))
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
