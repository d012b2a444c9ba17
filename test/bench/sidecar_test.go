package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/test/harness"
)

const (
	// lookPause is how often a running sidecar is asked how far it is: often
	// enough for seconds, and seldom enough not to be what is measured.
	lookPause = 100 * time.Millisecond
	// drainLimit is how long a drain may take.
	drainLimit = 30 * time.Minute
	// syncLimit is how long what came meanwhile may take.
	syncLimit = 2 * time.Minute
)

// sidecar is the real program in a process of its own.
type sidecar struct {
	t       testing.TB
	pg      *harness.PG
	ch      *harness.CH
	binary  string
	dir     string
	port    string
	profile string // folder for profiles of the next drain; "": none
	cpus    string // processors it may use, as taskset names them; "": all

	file    string // configuration that it was started with
	process *exec.Cmd
	log     bytes.Buffer
}

func newSidecar(t testing.TB, pg *harness.PG, ch *harness.CH, full bool) *sidecar {
	t.Helper()
	s := &sidecar{t: t, pg: pg, ch: ch, dir: harness.Folder(t)}
	if s.binary = harness.Binary(t); full {
		s.binary = harness.PlainBinary(t) // one with a race detector measures the detector
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// configure writes a configuration with the given backlog.
func (s *sidecar) configure(backlog int) string {
	s.t.Helper()
	return s.write(fmt.Sprintf(", backlog: %d, status_interval: 500ms", backlog))
}

// defaults writes a configuration that says no more than has to be said.
func (s *sidecar) defaults() string {
	s.t.Helper()
	return s.write("")
}

// write writes a configuration with more keys of the audited database.
func (s *sidecar) write(postgres string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, "pgwitness.yaml")
	dsn := func(user string) string { return s.ch.Server.DSN(user, "") }
	text := fmt.Sprintf(`state_dir: %s
http: {listen: %q}
clickhouse: {dsn: %q, admin_dsn: %q, reader_dsn: %q, database: %s}
streams:
  - name: bench
    postgres: {dsn: %q, slot: %s%s}
    tables: [{name: public.*}]
    baseline: {enabled: false}
`, s.state(), s.port, dsn("sink"), dsn(engine.Admin), dsn("reader"), s.ch.Database, s.pg.DSN(), benched, postgres)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

func (s *sidecar) state() string { return filepath.Join(s.dir, "state") }

// setUp runs `pgwitness setup` with an empty trail.
func (s *sidecar) setUp() {
	s.t.Helper()
	s.ch.Exec("DROP DATABASE IF EXISTS " + s.ch.Database + " SYNC")
	s.ch.Exec("CREATE DATABASE " + s.ch.Database)
	if err := os.RemoveAll(s.state()); err != nil {
		s.t.Fatal(err)
	}
	if said, err := exec.Command(s.binary, "--config", s.configure(-1), "setup").CombinedOutput(); err != nil {
		s.t.Fatalf("pgwitness setup: %v\n%s", err, said)
	}
}

// drain runs the sidecar on an empty trail until everything is stored and
// acknowledged.
func (s *sidecar) drain(c content, backlog int) drained {
	s.t.Helper()
	if backlog > 0 && c.changes < 10_000 {
		backlog = 1 << 10
	}
	s.setUp()
	s.released()
	before, storeBefore := s.serverTime(), storeTime(s.t, s.ch)
	began := time.Now()
	s.start(s.configure(backlog))
	defer s.kill()
	first, last := s.await(c)
	d := drained{took: time.Since(began), before: before, store: storeTime(s.t, s.ch) - storeBefore, allocs: last.mallocs - first.mallocs}
	var err error
	if d.reader, err = OwnTime(s.process.Process.Pid); err != nil {
		s.t.Fatal(err)
	}
	if d.peak, err = PeakMemory(s.process.Process.Pid); err != nil {
		s.t.Fatal(err)
	}
	if d.received, d.sent, err = Traffic(s.process.Process.Pid); err != nil {
		s.t.Fatal(err)
	}
	stored := time.Now()
	s.poll("the slot is not acknowledged", func() bool {
		return s.pg.Value("SELECT confirmed_flush_lsn > $1 FROM pg_replication_slots WHERE slot_name = $2", c.end, benched) == "t"
	})
	d.acked = time.Since(stored)
	if got := s.ch.Value("SELECT count() FROM " + s.ch.Database + ".audit_logs WHERE table_name = '" + c.table + "'"); got != strconv.Itoa(c.changes) {
		s.t.Fatalf("%s: %s entries, want %d", c, got, c.changes)
	}
	s.stop()
	return d
}

// sync waits until everything committed so far is stored.
func (s *sidecar) sync() {
	s.t.Helper()
	cfg, err := pgwitness.LoadConfig(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), syncLimit)
	defer cancel()
	if err := pgwitness.New(cfg, zerolog.Nop()).Sync(ctx, ""); err != nil {
		s.kill() // who writes the log has ended then
		s.t.Fatalf("the trail does not catch up: %v\n%s", err, s.log.String())
	}
}

// storeTime is the processor time that ClickHouse has spent so far.
func storeTime(t testing.TB, ch *harness.CH) time.Duration {
	t.Helper()
	spent, err := OwnTime(ch.Server.PID())
	if err != nil {
		t.Fatal(err)
	}
	return spent
}

// serverTime is the processor time that PostgreSQL has spent so far. A reading
// may miss a process that ends in its midst, and never counts one twice, so the
// largest of some is right.
func (s *sidecar) serverTime() time.Duration {
	s.t.Helper()
	var largest time.Duration
	for range 5 {
		t, err := FamilyTime(s.pg.Server.PID())
		if err != nil {
			s.t.Fatal(err)
		}
		largest = max(largest, t)
	}
	return largest
}

// released waits until nobody reads from the slot any more, and returns when the
// walsender or backend has ended that did: only then all its time is known.
func (s *sidecar) released() {
	s.t.Helper()
	s.poll("the slot is still read", func() bool {
		return s.pg.Value("SELECT count(*) FROM pg_stat_activity a WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')") == "0"
	})
}

func (s *sidecar) start(file string) {
	s.t.Helper()
	s.file = file
	args := []string{"--config", file, "run"}
	if s.profile != "" {
		args = append(args, "--profile", s.profile)
	}
	s.log.Reset()
	s.process = exec.Command(s.binary, args...)
	if s.cpus != "" {
		s.process = exec.Command("taskset", append([]string{"--cpu-list", s.cpus, s.binary}, args...)...)
	}
	s.process.Stderr = &s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends a process that the test has not come to stop.
func (s *sidecar) kill() {
	if s.process.ProcessState == nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	}
}

func (s *sidecar) stop() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.Wait(); err != nil {
		s.t.Fatalf("the sidecar ended: %v\n%s", err, s.log.String())
	}
}

// gauges is what /metrics says that matters here.
type gauges struct{ stored, mallocs float64 }

// await returns the first gauges that can be had, and those when all is stored.
func (s *sidecar) await(c content) (first, last gauges) {
	s.t.Helper()
	s.poll("the trail does not hold everything", func() bool {
		g, ok := s.gauges()
		if ok && first == (gauges{}) {
			first = g
		}
		last = g
		return ok && g.stored >= float64(c.changes)
	})
	return first, last
}

func (s *sidecar) poll(what string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), drainLimit)
	defer cancel()
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("%s after %s", what, drainLimit)
		}
	}
}

// gauges reads /metrics; ok is false while the port is not open.
func (s *sidecar) gauges() (g gauges, ok bool) {
	s.t.Helper()
	resp, err := http.Get("http://" + s.port + "/metrics")
	if err != nil {
		return g, false
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case strings.HasPrefix(name, "pgwitness_entries_total{"):
			g.stored = v
		case name == "go_memstats_mallocs_total":
			g.mallocs = v
		}
	}
	return g, lines.Err() == nil
}
