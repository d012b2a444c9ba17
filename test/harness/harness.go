// Package harness gives tests real databases: PostgreSQL and ClickHouse, started by package engine
// from the files that `make engines` installs. Nothing here is a fake.
//
//	func TestMain(m *testing.M) { harness.Main(m) } // stops the shared engines at the end
//
//	func TestSinkStores(t *testing.T) {
//		pg := harness.Postgres(t)   // a fresh database on a server shared by the test binary
//		ch := harness.ClickHouse(t) // a fresh database name on a shared engine
//		pg.Exec("CREATE TABLE orders (id int PRIMARY KEY)")
//		run(t, pg.DSN(), ch.DSN("sink"), ch.Database)
//		if got := ch.Value("SELECT count() FROM " + ch.Database + ".audit_logs"); got != "1" {
//			t.Errorf("stored %s entries, want 1", got)
//		}
//	}
//
// A test that kills, restarts or reconfigures a server takes one of its own with PostgresServer or
// ClickHouseServer. A test over several majors ranges over PostgresVersions. Binary builds
// cmd/pgwitness.
//
// A shared server starts when the first test asks for it. It ends with the test binary even when
// that one panics or is killed; folders left behind so are swept by the next run. With -short a test
// that comes here is skipped, for it is no unit test; without, it never is: when the engines are not
// installed it fails and says what to run.
package harness

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/engine"
)

// patience bounds each start, stop and helper query.
const patience = time.Minute

// shared holds the servers that the tests of one binary share. It is the one global of the
// harness: `go test` gives tests no other place to meet.
var shared struct {
	sync.Mutex
	postgres   *engine.Postgres
	clickhouse *engine.ClickHouse
	binary     string            // of cmd/pgwitness
	plain      string            // likewise, without race detector
	templates  map[string]string // folders with fresh PostgreSQL data by the programs' folder
}

// Main runs the tests of a binary and stops the shared servers afterwards. It does not return.
func Main(m *testing.M) {
	code := m.Run()
	if err := stopShared(); err != nil {
		os.Stderr.WriteString("harness: stop shared servers: " + err.Error() + "\n")
		code = max(code, 1)
	}
	os.Exit(code)
}

// stopShared kills rather than drains: the data goes with the folder.
func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	var problems []error
	if shared.postgres != nil {
		problems = append(problems, shared.postgres.Kill())
	}
	if shared.clickhouse != nil {
		problems = append(problems, shared.clickhouse.Kill())
	}
	return errors.Join(append(problems, os.RemoveAll(processFolder()))...)
}

// Parts finds the engine files or ends the test with what to run. Every test that needs a server
// comes by here.
func Parts(t testing.TB) engine.Parts {
	t.Helper()
	skipUnit(t)
	dir := ""
	if os.Getenv(engine.EnginesVariable) == "" {
		dir = filepath.Join(moduleRoot(t), "engines")
	}
	found, err := engine.Find(dir)
	check(t, "find engines", err)
	return found
}

// skipUnit skips the test when only unit tests are wanted: a test that uses the harness is none.
// Nothing else in the project skips, so that without -short a missing engine is a failure.
func skipUnit(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs more than Go code: run without -short")
	}
}

// moduleRoot is the folder with go.mod above the package under test.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	check(t, "find the module", err)
	for {
		if exists(filepath.Join(dir, "go.mod")) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("find the module: no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// check ends the test when err is not nil, with the hint that the error carries.
func check(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		t.Fatalf("%s: %v\nhint: %s", what, err, hinted.Hint())
	}
	t.Fatalf("%s: %v", what, err)
}

// patient is a context for one step of the harness. It does not end with the test, so that
// cleanups may use it.
func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// uniqueName makes a name for a database: short, lower case, different each time.
func uniqueName() string { return namePrefix + strings.ToLower(rand.Text()[:10]) }

// namePrefix begins all database names, so that grants can name them.
const namePrefix = "pgw_"
