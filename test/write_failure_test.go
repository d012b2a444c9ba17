package test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/test/network"
)

// throughProxies is a sidecar whose connections to both servers lead through
// proxies; direct leads past them.
func throughProxies(t *testing.T, pg *harness.PG, ch *harness.CH, streams string) (direct, s *sidecar, toPG, toCH *network.Proxy) {
	t.Helper()
	streams = strings.Replace(streams, `"${SHOP_DSN}"`, `"${SHOP_DSN}", status_interval: 200ms`, 1)
	direct = newSidecar(t, pg, ch, streams)
	toPG, toCH = network.New(t, network.Host(t, pg.DSN())), network.New(t, network.Host(t, ch.DSN("sink")))
	text, err := os.ReadFile(direct.file)
	if err != nil {
		t.Fatal(err)
	}
	s = direct.second()
	s.file = direct.file + ".proxies.yaml"
	if err := os.WriteFile(s.file, []byte(toCH.Through(toPG.Through(string(text)))), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.cfg, err = pgwitness.LoadConfig(s.file); err != nil {
		t.Fatal(err)
	}
	return direct, s, toPG, toCH
}

// write is one thing that a sidecar writes outside of itself.
type write struct {
	name  string
	begin bool   // it is written at the first start only
	pg    bool   // to PostgreSQL
	text  string // in what the sidecar says
	done  string // query whose value changes when it is done; "": nothing answers, so there is nothing to wait for
}

// externalWrites is every external write of a stream that is set up.
func externalWrites() []write {
	return []write{
		{"genesis", true, false, `INSERT INTO "genesis"`, "SELECT count() FROM {db}.genesis"},
		{"first_position", true, false, `INSERT INTO "slot_positions"`, "SELECT count() FROM {db}.slot_positions"},
		{"entries", false, false, `INSERT INTO "audit_logs"`, "SELECT count() FROM {db}.audit_logs"},
		{"position", false, false, `INSERT INTO "slot_positions"`, "SELECT toUnixTimestamp64Micro(max(saved_at)) FROM {db}.slot_positions"},
		{"state", false, false, `INSERT INTO "stream_state"`, "SELECT toUnixTimestamp64Micro(max(saved_at)) FROM {db}.stream_state"},
		{"event", false, true, "commit\x00", "SELECT pg_current_wal_flush_lsn()::text"},
		{"acknowledgement", false, true, "d\x00\x00\x00\x26r", ""},
	}
}

// trip lays a tripwire for the write.
func (w write) trip(direct *sidecar, toPG, toCH *network.Proxy, persisted bool) *tripwire {
	wire := &tripwire{text: []byte(w.text), expects: !w.pg}
	own := direct.pg.Connect() // it is asked while the test uses the others
	value := func() (text string) {
		if w.pg {
			if err := own.QueryRow(context.Background(), w.done).Scan(&text); err != nil {
				direct.t.Error(err)
			}
			return text
		}
		return direct.ch.Value(strings.ReplaceAll(w.done, "{db}", direct.ch.Database))
	}
	switch {
	case persisted && w.done == "":
		wire.persisted = func() bool { return true }
	case persisted:
		before := value()
		wire.persisted = func() bool { return value() != before }
	}
	if w.pg {
		return wire.lay(toPG)
	}
	return wire.lay(toCH)
}

// Case 25: every external write, failed and not persisted, and persisted but
// reported failed. The sidecar goes on by itself, and nothing is lost, doubled
// or taken for a gap.
func TestCase25EveryExternalWrite(t *testing.T) {
	t.Parallel()
	pg := harness.Postgres(t)
	pg.Exec(ordersTable)
	running, s, toPG, toCH := throughProxies(t, pg, harness.ClickHouse(t), watchful("writes"))
	s.start()
	running.sync(time.Minute)
	for i, w := range externalWrites() {
		for way, persisted := range map[string]bool{"not_persisted": false, "persisted_but_reported_failed": true} {
			t.Run(w.name+"_"+way, func(t *testing.T) {
				if !w.begin {
					goesOn(t, running, w.trip(running, toPG, toCH, persisted))
					return
				}
				pg := harness.Postgres(t)
				pg.Exec(ordersTable)
				direct, s, toPG, toCH := throughProxies(t, pg, harness.ClickHouse(t), watchful(fmt.Sprintf("writes_%d_%t", i, persisted)))
				wire := w.trip(direct, toPG, toCH, persisted)
				s.start()
				goesOn(t, direct, wire)
				s.stop()
			})
		}
	}
	running.foldEqualsTables("orders")
	s.stop()
}

// goesOn commits until the tripwire has tripped, and checks that all of it is
// in the trail, once.
func goesOn(t *testing.T, direct *sidecar, wire *tripwire) {
	t.Helper()
	for deadline, tripped := time.Now().Add(time.Minute), false; !tripped; wait(20 * time.Millisecond) {
		direct.pg.Exec("INSERT INTO orders SELECT coalesce(max(id), 0) + 1, 'seen' FROM orders")
		select {
		case <-wire.tripped:
			tripped = true
		default:
			if time.Now().After(deadline) {
				t.Fatal("it was not written")
			}
		}
	}
	direct.pg.Exec("INSERT INTO orders SELECT max(id) + 1, 'after' FROM orders")
	direct.sync(time.Minute)
	direct.declares()
	const query = "SELECT concat(toString(count()), ' of ', toString(uniqExact(resource_id))) FROM audit_logs WHERE table_name = 'orders'"
	n, of, _ := strings.Cut(direct.query(query), " of ")
	if n != of {
		t.Errorf("%s entries of %s rows that were inserted once", n, of)
	}
}
