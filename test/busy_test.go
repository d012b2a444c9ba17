package test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/test/network"
)

// While an insert goes on and on, changes are read all the same, until the next
// batch is full; then the log waits in PostgreSQL. In the end everything is there,
// once, and the inserts were as large as what had come meanwhile.
func TestSlowInsertDoesNotStopReading(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(ordersTable)
	// A row of the second load has a kilobyte, and weighs up to two until it lies in
	// columns.
	const bound, single, rows, statements = 1 << 20, 300, 500, 40
	_, s, _, toCH := throughProxies(t, pg, ch, fmt.Sprintf("batch: {window: 100ms, bytes: %d}\nstreams:\n  - name: slow_insert\n"+
		"    postgres: {dsn: \"${SHOP_DSN}\", backlog: -1, feed_changes: 100}\n    tables: [{name: public.*}]\n", bound))
	address := listen(t, s)
	s.start()
	pg.Exec("INSERT INTO orders VALUES (0)")
	s.sync(time.Minute)
	already := made(t, address)

	toCH.Turn(network.Hole)
	for i := range single {
		pg.Exec("INSERT INTO orders VALUES ($1, 'alone')", i+1)
	}
	s.until("what came during the insert is read", time.Minute, func() bool { return made(t, address) == already+single })
	if got := ch.Value("SELECT count() FROM " + ch.Database + ".audit_logs WHERE new_values LIKE '%alone%'"); got != "0" {
		t.Fatalf("%s entries were stored through a network that lets nothing pass", got)
	}

	for i := range statements {
		pg.Exec("INSERT INTO orders SELECT $1 + n, repeat('many', 250) FROM generate_series(1, $2) n", single+i*rows, rows)
	}
	most, still := 0, 0
	s.until("the reading stops", time.Minute, func() bool {
		if now := made(t, address); now > most {
			most, still = now, 0
		}
		still++
		return still > 20
	})
	if got := most - already - single; got*1000 < bound/2 || got >= rows*statements {
		t.Fatalf("%d of %d rows of a kilobyte were read before the reading stopped, want about %d bytes of them", got, rows*statements, bound)
	}

	toCH.Turn(network.Fair)
	s.sync(time.Minute)
	s.verified()
	if got := ch.Value("SELECT concat(toString(count()), ' ', toString(uniqExact(resource_id))) FROM " + ch.Database + ".audit_logs WHERE table_name = 'orders'"); got != fmt.Sprintf("%[1]d %[1]d", 1+single+rows*statements) {
		t.Errorf("entries and rows: %s", got)
	}
	if got := ch.Value("SELECT uniqExact(stored_at) <= 2 FROM " + ch.Database + ".audit_logs WHERE new_values LIKE '%alone%'"); got != "1" {
		t.Error("what came during one insert was not stored by the next one")
	}
	s.stop()
}

// A single commit after a pause is in the trail long before the window is over;
// what follows shares an insert when it is.
func TestQuietCommitIsStoredAtOnce(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(ordersTable)
	const window = 4 * time.Second
	s := newSidecar(t, pg, ch, fmt.Sprintf("batch: {window: %s}\nstreams:\n  - name: quiet\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: public.*}]\n    heartbeat_interval: 0s\n", window))
	s.start()
	s.sync(time.Minute)
	trail := ch.Database + ".audit_logs"
	s.until("a window has passed", time.Minute, func() bool {
		return ch.Value("SELECT max(stored_at) < now64(6) - toIntervalMillisecond(?) FROM "+trail, window.Milliseconds()) == "1"
	})
	inserts := "SELECT uniqExact(stored_at) FROM " + trail + " WHERE table_name = 'orders'"
	began := time.Now()
	pg.Exec("INSERT INTO orders VALUES (1)")
	s.until("a commit is stored", time.Minute, func() bool { return ch.Value(inserts) == "1" })
	if took := time.Since(began); took > window/2 {
		t.Errorf("a single commit was stored after %s, with a window of %s", took, window)
	}
	for i := range 20 {
		pg.Exec("INSERT INTO orders VALUES ($1)", i+2)
	}
	s.sync(time.Minute)
	if got := ch.Value(inserts); got != "2" {
		t.Errorf("21 commits within one window became %s inserts, want 2", got)
	}
	if got := ch.Value("SELECT max(stored_at) - min(stored_at) >= ? FROM "+trail+" WHERE table_name = 'orders'", window.Seconds()*0.9); got != "1" {
		t.Errorf("two inserts came closer to each other than the window of %s", window)
	}
	s.stop()
}

// listen opens the port of metrics in the configuration, and returns its address.
func listen(t *testing.T, s *sidecar) string {
	t.Helper()
	address := "127.0.0.1:" + freePort(t)
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file, []byte(strings.Replace(string(text), `listen: "off"`, "listen: "+address, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return address
}

// made is how many entries a running sidecar has made of changes, stored or not.
func made(t *testing.T, address string) (n int) {
	t.Helper()
	_, text := get(t, "http://"+address+"/metrics")
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), " "); strings.HasPrefix(name, "pgwitness_entries_by_actor_source_total{") {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			n += int(v)
		}
	}
	return n
}
