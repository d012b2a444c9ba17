package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/test/harness"
)

// second is another sidecar of the same configuration.
func (s *sidecar) second() *sidecar {
	two := &sidecar{t: s.t, pg: s.pg, ch: s.ch, file: s.file, binary: s.binary, cfg: s.cfg}
	s.t.Cleanup(two.kill)
	return two
}

// says waits until the log of the sidecar holds text.
func (s *sidecar) says(text string, limit time.Duration) {
	s.t.Helper()
	for deadline := time.Now().Add(limit); !strings.Contains(s.tail(), text); wait(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("no word of %q within %s\n%s", text, limit, s.tail())
		}
	}
}

const (
	takeover  = `"message":"replication started"`
	isStandby = "standby: another sidecar has the stream"
)

// Case 26: of two sidecars one writes, and the other waits. When the first dies
// under load the second goes on within seconds, and nothing is lost or doubled.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(tpcb)
	one := newSidecar(t, pg, ch, strings.Replace(tpcbConfig, "name: bench", "name: standby", 1))
	one.start()
	pg.Exec(tpcbRows)
	one.sync(time.Minute)
	two := one.second()
	two.start()
	two.says(isStandby, 10*time.Second)
	one.prints(0, []string{"status"}, "1 standby")

	load, stopLoad := context.WithCancel(t.Context())
	defer stopLoad()
	var g errgroup.Group
	g.Go(func() error {
		for load.Err() == nil {
			if err := runTPCB(context.WithoutCancel(load), pg.DSN(), 4, 400); err != nil {
				return err
			}
		}
		return nil
	})
	active, waiting := one, two
	for i, end := range []func(s *sidecar){(*sidecar).kill, (*sidecar).stop, (*sidecar).kill, (*sidecar).kill} {
		wait(300 * time.Millisecond)
		begun := time.Now()
		end(active)
		waiting.says(takeover, 10*time.Second)
		t.Logf("takeover %d after %s", i, time.Since(begun).Round(time.Millisecond))
		active, waiting = waiting, one.second()
		waiting.start()
		waiting.says(isStandby, 10*time.Second)
	}
	stopLoad()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	active.sync(2 * time.Minute)
	active.foldEqualsTables(tpcbTables()...)
	active.declares()
	waiting.stop()
	active.stop()
}

// A standby with another signing key could not go on with the chain: it says so
// at once, and not when it is needed.
func TestStandbyNeedsTheSigningKey(t *testing.T) {
	t.Parallel()
	pg := harness.Postgres(t)
	s := newWatched(t, pg, "foreign")
	s.stop()
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.Replace(string(text), "/state\n", "/elsewhere\n", 1)
	if err := os.WriteFile(s.file, []byte(elsewhere), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refuses("signing.key does not exist")
}

// Issue 3, 8: one stream that fails for good does not stop the other.
func TestSeveralStreams(t *testing.T) {
	t.Parallel()
	pg, other := harness.Postgres(t), harness.Postgres(t)
	pg.Exec(ordersTable)
	other.Exec(ordersTable)
	s := newSidecar(t, pg, harness.ClickHouse(t), watchful("several_a")+strings.TrimPrefix(
		strings.ReplaceAll(watchful("several_b"), "${SHOP_DSN}", other.DSN()), "streams:\n"))
	address := listen(t, s)
	s.start()
	s.sync(time.Minute)
	if code, text := get(t, "http://"+address+"/readyz"); code != http.StatusOK || strings.Count(text, "streaming") != 2 {
		t.Errorf("/readyz answers %d:\n%s", code, text)
	}
	s.stop()
	other.Exec("SELECT pg_drop_replication_slot($1)", s.freeSlot())

	s.start()
	for i := range 5 {
		pg.Exec("INSERT INTO orders VALUES ($1, 'seen')", i)
	}
	s.eventually("SELECT count() FROM audit_logs WHERE stream = 'several_a' AND table_name = 'orders'", "5")
	s.says("stream stopped for good", time.Minute)
	code, ready := get(t, "http://"+address+"/readyz")
	if code != http.StatusServiceUnavailable || !strings.Contains(ready, "several_a: streaming") || !strings.Contains(ready, "several_b: stopped, a human must look: slot_missing") {
		t.Errorf("/readyz answers %d:\n%s", code, ready)
	}
	metrics := ""
	s.until("there is a heartbeat", time.Minute, func() bool {
		_, metrics = get(t, "http://"+address+"/metrics")
		return strings.Contains(metrics, `pgwitness_last_heartbeat_timestamp_seconds{stream="several_a"}`)
	})
	for _, want := range []string{
		`pgwitness_needs_human{stream="several_b"} 1`, `pgwitness_gaps_total{stream="several_b"} 1`,
		`pgwitness_up{stream="several_a"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}
	s.prints(5, []string{"status"}, "several_a", "STOPPED", "slot_missing: the replication slot does not exist")
	if s.ended() {
		t.Fatalf("one stream stopped the other\n%s", s.tail())
	}
	// The sidecar says at its end that not all is well.
	if c := s.end(os.Interrupt); c.ProcessState.ExitCode() != 5 {
		t.Errorf("the sidecar ended with %s, want exit code 5", c.ProcessState)
	}
	s.prints(0, []string{"resume", "--accept-gap", "--reason", "a test"}, "several_a: nothing is missing", "several_b: the gap from")
	s.start()
	other.Exec("INSERT INTO orders VALUES (7, 'after')")
	s.sync(time.Minute)
	s.prints(0, []string{"status"}, "0 gaps declared", "1 gaps declared")
	s.verified()
	s.stop()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

func get(t *testing.T, url string) (code int, text string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
