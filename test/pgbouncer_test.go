package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/test/harness"
)

// pooledTime is how long the clients of a pooler write. The environment can
// make it longer: PGWITNESS_POOLED=60s.
func pooledTime(t *testing.T) time.Duration {
	text := os.Getenv("PGWITNESS_POOLED")
	if text == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pgBouncer starts PgBouncer in transaction mode with few server connections,
// and returns a DSN that leads through it to the role app of w.
func pgBouncer(t *testing.T, w *witnessed) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		t.Fatal("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
	}
	server, err := pgx.ParseConfig(w.pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		t.Fatal(err)
	}
	dir := harness.Folder(t)
	file := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
shop = host=%s port=%d dbname=%s user=app_%s password=secret
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
application_name_add_host = 1
`, server.Host, server.Port, server.Database, w.name, port)
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := exec.Command(program, file)
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged(t)}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-ended
	})
	dsn := url.URL{Scheme: "postgres", User: url.UserPassword("app", "none"), Host: "127.0.0.1:" + port, Path: "/shop", RawQuery: "default_query_exec_mode=simple_protocol"}
	for deadline := time.Now().Add(20 * time.Second); ; wait(20 * time.Millisecond) {
		conn, err := pgx.Connect(context.Background(), dsn.String())
		if err == nil {
			conn.Close(context.Background())
			return dsn.String()
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("pgbouncer ended: %v\n%s", err, said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("pgbouncer does not answer: %v", err)
		}
	}
}

// unprivileged is a user for programs that refuse to run as root; nil when we
// are not.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// Case 30: the contexts of 50 clients that share four connections never mix,
// whether a client names itself by variables or comments, rolls back, fails, or
// says nothing at all.
func Test_case30_contexts_never_mix_in_a_pooler(t *testing.T) {
	w := newWitnessed(t)
	w.start()
	dsn := pgBouncer(t, w)
	until := time.Now().Add(pooledTime(t))
	var g errgroup.Group
	for i := range 50 {
		g.Go(func() error { return pooledClient(dsn, fmt.Sprintf("client%d", i), until) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	entries := w.entries()
	seen := make(map[string]int)
	for tag, e := range entries {
		who, rest, _ := strings.Cut(tag, " ")
		kind, _, _ := strings.Cut(rest, " ")
		want := who
		if kind == "silent" {
			want = "db:app_" + w.name
		}
		if e.Actor != want {
			t.Errorf("%s is credited to %s: %s", tag, e.Actor, e.Attribution)
		}
		if kind == "undone" {
			t.Errorf("%s was rolled back", tag)
		}
		if !strings.HasPrefix(e.Application, who+" - 127.0.0.1:") || e.IP != "127.0.0.1" || e.notes["ip_address"] != "application_name" {
			t.Errorf("%s came by %q from %s, known by %v", tag, e.Application, e.IP, e.notes["ip_address"])
		}
		seen[kind]++
	}
	t.Logf("%d entries: %v", len(entries), seen)
	for _, kind := range []string{"variable", "comment", "silent", "after"} {
		if seen[kind] < 50 {
			t.Errorf("only %d entries of the kind %s", seen[kind], kind)
		}
	}
	w.stop()
	w.verified()
}

// pooledClient writes rows in all the ways that clients do, until the time is
// up, and each way at least once.
func pooledClient(dsn, name string, until time.Time) error {
	ctx := context.Background()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["application_name"] = name
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for n := 0; n == 0 || time.Now().Before(until); n++ {
		row := func(kind string) string { return note(fmt.Sprintf("%s %s %d", name, kind, n)) }
		for _, s := range []string{
			"BEGIN", claim("audit.actor_id", name), row("variable"), "COMMIT",
			row("comment") + " /*actor_id='" + name + "'*/",
			row("silent"),
			"BEGIN", claim("audit.actor_id", name+"undone"), row("undone"), "ROLLBACK",
			"BEGIN", claim("audit.actor_id", name), "SELECT 1/0", "ROLLBACK",
			"BEGIN", claim("audit.actor_id", name), row("after"), "COMMIT",
		} {
			if _, err := conn.Exec(ctx, s); err != nil && s != "SELECT 1/0" {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
	}
	return nil
}
