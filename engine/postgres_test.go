package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/test/harness"
	"go.uber.org/goleak"
)

func TestPostgresOfEveryVersion(t *testing.T) {
	for _, version := range harness.PostgresVersions(t) {
		t.Run(version.String(), func(t *testing.T) {
			pg := harness.PostgresServer(t, version.Major, map[string]string{"work_mem": "7MB"})
			if !strings.HasPrefix(pg.Server.Version(), strconv.Itoa(version.Major)+".") {
				t.Errorf("version %s, want %d", pg.Server.Version(), version.Major)
			}
			for setting, want := range map[string]string{
				"wal_level": "logical", "data_checksums": "on", "server_encoding": "UTF8", "lc_messages": "C",
				"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "work_mem": "7MB",
			} {
				if got := pg.Value("SHOW " + setting); got != want {
					t.Errorf("%s is %q, want %q", setting, got, want)
				}
			}
		})
	}
}

func TestPostgresKeepsDataAndPort(t *testing.T) {
	pg := harness.PostgresServer(t, 0, nil)
	pg.Exec("CREATE TABLE t (a int)")
	dsn := pg.DSN()
	for rows, interruption := range []struct {
		name string
		end  func()
	}{{"stop", pg.Stop}, {"kill", pg.Kill}, {"kill", pg.Kill}} {
		pg.Exec("INSERT INTO t VALUES (1)")
		interruption.end()
		pg.Start()
		if got, want := pg.Value("SELECT count(*) FROM t"), strconv.Itoa(rows+1); got != want {
			t.Errorf("after %s: %s rows, want %s", interruption.name, got, want)
		}
		if pg.DSN() != dsn {
			t.Errorf("after %s: address %s, want %s", interruption.name, pg.DSN(), dsn)
		}
	}
}

func TestPostgresSettingsYieldToAlterSystem(t *testing.T) {
	pg := harness.PostgresServer(t, 0, map[string]string{"work_mem": "7MB"})
	pg.Exec("ALTER SYSTEM SET work_mem = '9MB'")
	pg.Restart()
	if got := pg.Value("SHOW work_mem"); got != "9MB" {
		t.Errorf("work_mem is %s, want 9MB", got)
	}
}

// PostgreSQL refuses root; when the tests are root, the server must not be.
func TestPostgresIsNeverRoot(t *testing.T) {
	pg := harness.Postgres(t)
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pg.Server.PID())))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner == 0 {
		t.Error("postgres runs as root")
	}
}

// A checkout below root's home is closed to the user that root drops to. For
// every other user it is his own folder.
func TestPostgresProgramsBehindAClosedFolder(t *testing.T) {
	closed := filepath.Join(harness.Folder(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	native := filepath.Dir(parts(t).Postgres)
	if err := copyWithoutLinks(native, filepath.Join(closed, "native")); err != nil {
		t.Fatal(err)
	}
	pg := startPostgres(t, engine.PostgresConfig{BinDir: filepath.Join(closed, "native/bin"), Dir: harness.Folder(t)})
	if pg.Version() == "" {
		t.Error("no version")
	}
}

func TestPostgresSaysWhyItDoesNotStart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := listener.Addr().(*net.TCPAddr).Port
	tests := []struct {
		name       string
		change     func(*engine.PostgresConfig)
		want, hint string
	}{
		{"no programs", func(c *engine.PostgresConfig) { c.BinDir = "/nowhere" }, "find postgres", "npm ci"},
		{"port taken", func(c *engine.PostgresConfig) { c.Port = taken }, "port is taken", ""},
		{"bad setting", func(c *engine.PostgresConfig) { c.Settings["wal_level"] = "loud" }, "wal_level", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := engine.PostgresConfig{
				BinDir: parts(t).Postgres, Dir: harness.Folder(t), Settings: map[string]string{"fsync": "off"},
			}
			tt.change(&config)
			err := engine.NewPostgres(config).Start(testContext(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(hintOf(err), tt.hint) {
				t.Errorf("start says %v (hint %q), want %q (%q)", err, hintOf(err), tt.want, tt.hint)
			}
		})
	}
}

func TestPostgresFolderBehindAClosedFolder(t *testing.T) {
	closed := filepath.Join(harness.Folder(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	config := engine.PostgresConfig{BinDir: parts(t).Postgres, Dir: filepath.Join(closed, "pg")}
	if os.Geteuid() != 0 { // nobody drops to another user
		startPostgres(t, config)
		return
	}
	err := engine.NewPostgres(config).Start(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "may not pass "+closed) || hintOf(err) == "" {
		t.Errorf("start says %v (hint %q), want the closed folder's name", err, hintOf(err))
	}
}

func TestPostgresRunEndsWithItsContext(t *testing.T) {
	before := goleak.IgnoreCurrent()
	pg := engine.NewPostgres(engine.PostgresConfig{
		BinDir: parts(t).Postgres, Dir: harness.Folder(t), Settings: map[string]string{"fsync": "off"},
	})
	if err := pg.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error)
	go func() { ended <- pg.Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, running := <-pg.Done(); running {
		t.Error("the server runs on")
	}
	goleak.VerifyNone(t, before)
}

// A server that somebody else ends must not look like one that was stopped.
func TestPostgresRunReportsAnUnexpectedEnd(t *testing.T) {
	pg := startPostgres(t, engine.PostgresConfig{BinDir: parts(t).Postgres, Dir: harness.Folder(t)})
	if err := syscall.Kill(pg.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := pg.Run(testContext(t)); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("run: %v, want that it ended by itself", err)
	}
}

// An engine never outlives the process that started it, however that one ends.
func TestEnginesDieWithTheirParent(t *testing.T) {
	found := parts(t)
	harness.ClickHouse(t) // builds the server program
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(),
		abandonVariable+"="+harness.Folder(t),
		"PGWITNESS_TEST_BIN="+found.Postgres,
		"PGWITNESS_TEST_LIBRARY="+found.ClickHouse,
		"PGWITNESS_TEST_CHSERVER="+harness.ClickHouseServerBinary(t))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pg, ch int
	if _, err := fmt.Sscan(line, &pg, &ch); err != nil {
		t.Fatalf("read %q: %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	for name, pid := range map[string]int{"postgres": pg, "clickhouse": ch} {
		if !gone(pid, 20*time.Second) {
			t.Errorf("%s %d outlives its parent", name, pid)
		}
	}
}

// gone waits for the end of a process that is not our child. A zombie is as good as gone.
func gone(pid int, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	return false
}

func startPostgres(t *testing.T, config engine.PostgresConfig) *engine.Postgres {
	t.Helper()
	if config.Settings == nil {
		config.Settings = map[string]string{"fsync": "off"}
	}
	pg := engine.NewPostgres(config)
	if err := pg.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Kill(); err != nil {
			t.Error(err)
		}
	})
	return pg
}

func parts(t *testing.T) engine.Parts {
	t.Helper()
	return harness.Parts(t)
}

func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// copyWithoutLinks copies a tree as npm unpacks it.
func copyWithoutLinks(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o755)
	})
}
