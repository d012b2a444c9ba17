package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
	"github.com/pgwitness/pgwitness/verify"
)

func TestMain(m *testing.M) { harness.Main(m) }

// sidecar is the real program, running as a process of its own beside real
// databases, the way an operator runs it.
type sidecar struct {
	t      testing.TB
	pg     *harness.PG
	ch     *harness.CH
	file   string // configuration
	binary string
	cfg    pgwitness.Config

	mu      sync.Mutex
	process *exec.Cmd
	done    chan struct{}
	log     bytes.Buffer
}

// newSidecar writes a configuration for the given streams part, whose DSN is
// filled in, and runs `pgwitness setup`. Where the test says nothing of the
// baseline there is none, so that every entry is of a change that it made. A
// test that runs beside others has a stream of its own name, because that is in
// the name of its slot, and slots belong to the whole server. So do roles: a test
// that watches them runs alone.
func newSidecar(t testing.TB, pg *harness.PG, ch *harness.CH, streams string) *sidecar {
	t.Helper()
	s := &sidecar{t: t, pg: pg, ch: ch, binary: harness.Binary(t)}
	dir := harness.Folder(t)
	s.file = filepath.Join(dir, "pgwitness.yaml")
	if !strings.Contains(streams, "batch:") { // half a second for every wait of every test is much
		streams = "batch: {window: 100ms}\n" + streams
	}
	text := fmt.Sprintf("state_dir: %s\nlog: {level: debug}\nhttp: {listen: \"off\"}\nclickhouse:\n  dsn: %s\n  admin_dsn: %s\n  reader_dsn: %s\n  database: %s\n",
		filepath.Join(dir, "state"), dsn(ch, "sink"), dsn(ch, engine.Admin), dsn(ch, "reader"), ch.Database)
	if !strings.Contains(streams, "    baseline:") {
		streams = strings.ReplaceAll(streams, "\n    postgres:", "\n    baseline: {enabled: false}\n    postgres:")
	}
	text += strings.ReplaceAll(streams, "${SHOP_DSN}", pg.DSN())
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := pgwitness.LoadConfig(s.file)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg = cfg
	s.must("setup")
	t.Cleanup(s.kill)
	return s
}

// dsn is the DSN of a user without a database: the configuration names it.
func dsn(ch *harness.CH, user string) string { return ch.Server.DSN(user, "") }

// command is one verb, not started yet.
func (s *sidecar) command(args ...string) *exec.Cmd {
	c := exec.Command(s.binary, append([]string{"--config", s.file}, args...)...)
	c.Env = append(os.Environ(), "NO_COLOR=1", harness.RaceOptions)
	return c
}

// must runs a verb that must succeed and returns what it printed.
func (s *sidecar) must(args ...string) string {
	s.t.Helper()
	out, code := s.run(args...)
	if code != 0 {
		s.t.Fatalf("pgwitness %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// run runs a verb and returns what it printed, on both outputs, and its exit code.
func (s *sidecar) run(args ...string) (string, int) {
	s.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if exit != nil {
		return string(out), exit.ExitCode()
	}
	return string(out), 0
}

// start starts the sidecar itself.
func (s *sidecar) start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.command("run")
	done := make(chan struct{})
	stderr := &lockedWriter{s: s}
	c.Stderr, c.Stdout = stderr, stderr
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process, s.done = c, done
	go func() {
		_ = c.Wait() // how it ended is asked of c.ProcessState
		close(done)
	}()
}

// lockedWriter collects the log, of which only the end is kept.
type lockedWriter struct{ s *sidecar }

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.s.log.Len() > 1<<20 {
		w.s.log.Next(w.s.log.Len() - 1<<19)
	}
	return w.s.log.Write(b)
}

// kill is kill -9.
func (s *sidecar) kill() { s.end(syscall.SIGKILL) }

// stop is SIGTERM, which must drain and end with exit code 0.
func (s *sidecar) stop() {
	s.t.Helper()
	if c := s.end(syscall.SIGTERM); c != nil && c.ProcessState.ExitCode() != 0 {
		s.t.Fatalf("the sidecar ended with %s\n%s", c.ProcessState, s.tail())
	}
}

func (s *sidecar) end(sig os.Signal) *exec.Cmd {
	s.mu.Lock()
	c, done := s.process, s.done
	s.process = nil
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	_ = c.Process.Signal(sig) // it may have ended by itself
	select {
	case <-done:
	case <-time.After(time.Minute):
		s.t.Errorf("the sidecar does not end on %s\n%s", sig, s.tail())
		_ = c.Process.Kill()
		<-done
	}
	return c
}

// ended reports whether the process has ended by itself.
func (s *sidecar) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return s.process != nil
	default:
		return false
	}
}

// tail is the end of the log.
func (s *sidecar) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.log.Bytes()
	return string(b[max(0, len(b)-8<<10):])
}

// sync waits until everything committed so far is stored.
func (s *sidecar) sync(limit time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := pgwitness.New(s.cfg, zerolog.Nop()).Sync(ctx, ""); err != nil {
		s.t.Fatalf("the trail does not catch up: %v\n%s", err, s.tail())
	}
}

// verified verifies the whole chain and fails the test if it does not hold.
func (s *sidecar) verified() pgwitness.Report {
	s.t.Helper()
	reports, err := pgwitness.New(s.cfg, zerolog.Nop()).Verify(context.Background(), pgwitness.VerifyQuery{}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range reports {
		for _, name := range []string{verify.Integrity, verify.Completeness} {
			if v := r.Verdict(name); v.Status != verify.Holds {
				var text bytes.Buffer
				_ = r.WriteText(&text)
				s.t.Fatalf("the chain does not hold:\n%s", text.String())
			}
		}
	}
	return reports[0]
}

// foldEqualsTables folds the entries of each table and compares the outcome
// with the table as it is. Tables may be roots of partitions.
func (s *sidecar) foldEqualsTables(tables ...string) {
	s.t.Helper()
	s.foldEach(tables, func(table string, fold *trail.Fold, got trail.Comparison) {
		if !got.Exact() {
			s.t.Errorf("%s: the fold of the entries is not the table: %s", table, got)
		}
		if b := fold.Breaks(); b.Count > 0 {
			s.t.Errorf("%s: %d entries do not follow from the ones before: %+v", table, b.Count, b.First)
		}
	})
}

// foldEach folds the entries of each table and hands over how the outcome
// compares with the table, all of one snapshot.
func (s *sidecar) foldEach(tables []string, look func(table string, fold *trail.Fold, got trail.Comparison)) {
	s.t.Helper()
	ctx := context.Background()
	server, err := s.cfg.ClickHouse.Reader()
	if err != nil {
		s.t.Fatal(err)
	}
	t := trail.New(server).Opening(server)
	conn := s.pg.Connect()
	defer conn.Close(ctx)
	err = trail.Snapshot(ctx, conn, func(tx pgx.Tx) error {
		for _, table := range tables {
			key, err := trail.LiveKey(ctx, tx, "public", table)
			if err != nil {
				return err
			}
			fold, err := t.Fold(ctx, s.cfg.Streams[0].Name, "public", table, key, nil)
			if err != nil {
				return err
			}
			got, err := fold.CompareLive(ctx, tx)
			if err != nil {
				return err
			}
			look(table, fold, got)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// changes counts the entries that are changes of rows, by the name of their
// table without its schema.
func (s *sidecar) changes() map[string]int64 {
	s.t.Helper()
	return s.changesBy("assumeNotNull(table_name)")
}

// changesBy counts the entries that are changes of rows, by an expression.
func (s *sidecar) changesBy(expression string) map[string]int64 {
	s.t.Helper()
	counts := make(map[string]int64)
	s.ch.Each(func(scan func(...any)) {
		var name string
		var n int64
		scan(&name, &n)
		counts[name] = n
	}, "SELECT "+expression+` AS name, toInt64(count())
		FROM audit_logs WHERE operation IN ('insert', 'update', 'delete', 'truncate') GROUP BY name`)
	return counts
}
