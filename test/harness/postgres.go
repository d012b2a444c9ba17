package harness

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pgwitness/pgwitness/engine"
)

// PG is a database of one test.
type PG struct {
	t testing.TB
	// Server is the server that the database is on.
	Server *engine.Postgres
	// Database is the database's name.
	Database string

	private  bool
	bin      string            // folder of the programs, of a private server
	settings map[string]string // of a private server
	conn     *pgx.Conn         // of the helpers; nil until needed and after a kill
}

// PGVersion is a PostgreSQL that can be started here.
type PGVersion struct {
	Major  int
	BinDir string
}

func (v PGVersion) String() string { return "postgres" + strconv.Itoa(v.Major) }

// PostgresVersions lists one PostgreSQL of each major version that is installed here, newest first:
// the engines folder's, then engines/matrix's and engines/oldest's, then the distribution's.
func PostgresVersions(t testing.TB) []PGVersion {
	t.Helper()
	found := Parts(t)
	byMajor := map[int]PGVersion{}
	for _, bin := range postgresFolders(found) {
		if major := majorOf(t, bin); byMajor[major].BinDir == "" {
			byMajor[major] = PGVersion{major, bin}
		}
	}
	return slices.SortedFunc(maps.Values(byMajor), func(a, b PGVersion) int { return b.Major - a.Major })
}

// postgresFolders lists the folders with a program postgres, the preferred ones first.
func postgresFolders(found engine.Parts) []string {
	folders := []string{found.Postgres}
	for _, pattern := range []string{
		filepath.Join(found.Dir, "matrix/node_modules/postgres-*/native/bin"),
		filepath.Join(found.Dir, "oldest/node_modules/postgres-*/native/bin"),
		"/usr/lib/postgresql/*/bin",
	} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue // the patterns are well formed
		}
		for _, bin := range matches {
			if exists(filepath.Join(bin, "postgres")) {
				folders = append(folders, bin)
			}
		}
	}
	return folders
}

// majorOf reads the version out of the npm package that the programs lie in, or out of the name of
// their folder (/usr/lib/postgresql/15/bin). The programs cannot be asked: those of a fresh npm
// package lack links to their libraries until package engine has made them.
func majorOf(t testing.TB, bin string) int {
	t.Helper()
	version := filepath.Base(filepath.Dir(bin))
	if version == "native" {
		text, err := os.ReadFile(filepath.Join(bin, "../../package.json"))
		check(t, "list postgres versions", err)
		var npm struct{ Version string }
		check(t, "list postgres versions", json.Unmarshal(text, &npm))
		version, _, _ = strings.Cut(npm.Version, ".")
	}
	major, err := strconv.Atoi(version)
	check(t, "list postgres versions", err)
	return major
}

// testSettings trade safety at a power cut of the machine for speed. A killed server loses nothing
// by them.
func testSettings() map[string]string {
	return map[string]string{
		"fsync":                     "off",
		"max_connections":           "200",
		"max_prepared_transactions": "10",
		"max_replication_slots":     "50",
		"max_wal_senders":           "50",
	}
}

// Postgres returns a fresh database on the shared server, which is of the newest version. The
// database and its replication slots are dropped after the test.
func Postgres(t testing.TB) *PG {
	t.Helper()
	pg := &PG{t: t, Server: sharedPostgres(t), Database: uniqueName()}
	pg.create()
	t.Cleanup(pg.drop)
	return pg
}

func sharedPostgres(t testing.TB) *engine.Postgres {
	t.Helper()
	bin := Parts(t).Postgres
	fresh := template(t, bin)
	shared.Lock()
	defer shared.Unlock()
	if shared.postgres == nil {
		shared.postgres = startPostgres(t, bin, fresh, nil)
	}
	return shared.postgres
}

// PostgresServer returns a database on a server of the test's own, of a major version (0: the
// newest) and with settings over those that all test servers have. It is gone after the test.
// It begins as a copy of a cluster that all test servers of its version share, so that they have one
// system identifier; a test for which that matters takes a PostgresCluster.
func PostgresServer(t testing.TB, major int, settings map[string]string) *PG {
	t.Helper()
	bin := binDirOf(t, major)
	return privatePostgres(t, bin, template(t, bin), settings)
}

// PostgresOf is a PostgresServer of the programs in a folder, such as those of the distribution,
// which has extensions that the npm packages lack.
func PostgresOf(t testing.TB, binDir string, settings map[string]string) *PG {
	t.Helper()
	return privatePostgres(t, binDir, template(t, binDir), settings)
}

// PostgresCluster is a PostgresServer with a system identifier of its own. It takes a second more.
func PostgresCluster(t testing.TB, major int, settings map[string]string) *PG {
	t.Helper()
	return privatePostgres(t, binDirOf(t, major), "", settings)
}

func privatePostgres(t testing.TB, bin, template string, settings map[string]string) *PG {
	t.Helper()
	pg := &PG{t: t, Database: uniqueName(), private: true, bin: bin, settings: testSettings()}
	maps.Copy(pg.settings, settings)
	pg.Server = startPostgres(t, bin, template, settings)
	t.Cleanup(func() {
		pg.disconnect()
		check(t, "stop postgres", pg.Server.Kill())
	})
	pg.create()
	return pg
}

func binDirOf(t testing.TB, major int) string {
	t.Helper()
	if major == 0 {
		return Parts(t).Postgres
	}
	for _, version := range PostgresVersions(t) {
		if version.Major == major {
			return version.BinDir
		}
	}
	t.Fatalf("find postgres %d: it is not installed\nhint: run `npm ci --prefix engines/matrix`", major)
	return ""
}

func startPostgres(t testing.TB, bin, template string, settings map[string]string) *engine.Postgres {
	t.Helper()
	all := testSettings()
	maps.Copy(all, settings)
	server := engine.NewPostgres(engine.PostgresConfig{
		BinDir: bin, Dir: serverFolder(t, "postgres"), Template: template, Settings: all,
	})
	ctx, cancel := patient()
	defer cancel()
	check(t, "start postgres", server.Start(ctx))
	return server
}

// template returns the folder of a stopped server with fresh data: copying it is several times
// faster than initdb.
func template(t testing.TB, bin string) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.templates == nil {
		shared.templates = map[string]string{}
	}
	if shared.templates[bin] == "" {
		shared.templates[bin] = makeTemplate(t, bin)
	}
	return shared.templates[bin]
}

// makeTemplate makes the template once for all test binaries, under the name of its version. Where
// the cache is on another disk than the tests' folders, each test binary has its own.
func makeTemplate(t testing.TB, bin string) string {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	version, err := engine.PostgresVersion(ctx, bin)
	check(t, "make postgres template", err)
	path := filepath.Join(cacheFolder(t), fmt.Sprintf("postgres-%s-%x", version, sha256.Sum256([]byte(bin)))[:40])
	if exists(path) {
		return path
	}
	draft := serverFolder(t, "template")
	server := engine.NewPostgres(engine.PostgresConfig{BinDir: bin, Dir: draft, Settings: testSettings()})
	check(t, "make postgres template", server.Start(ctx))
	check(t, "make postgres template", server.Stop(ctx))
	if err := os.Rename(draft, path); err != nil && !exists(path) {
		return draft
	}
	return path
}

// DSN is the superuser's connection string for the database.
func (pg *PG) DSN() string { return pg.Server.DSN(pg.Database) }

// DSNAs is another role's connection string for the database.
func (pg *PG) DSNAs(role, password string) string {
	u, err := url.Parse(pg.DSN())
	check(pg.t, "read connection string", err)
	u.User = url.UserPassword(role, password)
	return u.String()
}

// Connect opens a connection of the superuser, which is closed after the test.
func (pg *PG) Connect() *pgx.Conn {
	pg.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.DSN())
	check(pg.t, "connect to postgres", err)
	pg.t.Cleanup(func() {
		// The server may be gone by now; what matters is that our side is closed.
		_ = conn.Close(ctx)
	})
	return conn
}

// Exec runs statements as the superuser, all in one transaction unless they say otherwise.
// Statements with arguments must be single.
func (pg *PG) Exec(statements string, args ...any) {
	pg.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	_, err := pg.helper().Exec(ctx, statements, args...)
	check(pg.t, "execute "+statements, err)
}

// Value returns the one value of a query in PostgreSQL's own text form; NULL is "".
func (pg *PG) Value(query string, args ...any) string {
	pg.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	rows, err := pg.helper().Query(ctx, query, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
	check(pg.t, "query "+query, err)
	defer rows.Close()
	value := ""
	if rows.Next() {
		value = string(rows.RawValues()[0])
	}
	rows.Close()
	check(pg.t, "query "+query, rows.Err())
	return value
}

// helper is the connection of Exec and Value.
func (pg *PG) helper() *pgx.Conn {
	pg.t.Helper()
	if pg.conn == nil || pg.conn.IsClosed() {
		ctx, cancel := patient()
		defer cancel()
		conn, err := pgx.Connect(ctx, pg.DSN())
		check(pg.t, "connect to postgres", err)
		pg.conn = conn
	}
	return pg.conn
}

func (pg *PG) disconnect() {
	if pg.conn == nil {
		return
	}
	ctx, cancel := patient()
	defer cancel()
	// The server may be gone by now; what matters is that our side is closed.
	_ = pg.conn.Close(ctx)
	pg.conn = nil
}

// Kill ends the server with SIGKILL; Start brings it back on the same port.
func (pg *PG) Kill() {
	pg.t.Helper()
	pg.mustOwn()
	pg.disconnect()
	check(pg.t, "kill postgres", pg.Server.Kill())
}

// Quit is an immediate shutdown: sessions end without a word to their transactions, and the next
// Start recovers.
func (pg *PG) Quit() {
	pg.t.Helper()
	pg.mustOwn()
	pg.disconnect()
	done := pg.Server.Done()
	check(pg.t, "shut postgres down at once", syscall.Kill(pg.Server.PID(), syscall.SIGQUIT))
	select {
	case <-done:
	case <-time.After(patience):
		pg.t.Fatal("shut postgres down at once: it does not end")
	}
}

// Stop shuts the server down in order.
func (pg *PG) Stop() {
	pg.t.Helper()
	pg.mustOwn()
	pg.disconnect()
	ctx, cancel := patient()
	defer cancel()
	check(pg.t, "stop postgres", pg.Server.Stop(ctx))
}

// Start starts the server again after Kill or Stop.
func (pg *PG) Start() {
	pg.t.Helper()
	pg.mustOwn()
	ctx, cancel := patient()
	defer cancel()
	check(pg.t, "start postgres", pg.Server.Start(ctx))
}

// Restart is Stop and Start.
func (pg *PG) Restart() {
	pg.t.Helper()
	pg.Stop()
	pg.Start()
}

func (pg *PG) mustOwn() {
	pg.t.Helper()
	if !pg.private {
		pg.t.Fatal("stop a shared server: take one with harness.PostgresServer")
	}
}

func (pg *PG) create() {
	pg.t.Helper()
	pg.onServer("CREATE DATABASE " + pg.Database)
}

// drop removes the database with everything that holds it: sessions, walsenders, slots.
func (pg *PG) drop() {
	pg.disconnect()
	pg.onServer("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '" + pg.Database + "'")
	pg.onServer("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '" + pg.Database + "'")
	pg.onServer("DROP DATABASE IF EXISTS " + pg.Database + " WITH (FORCE)")
}

// onServer runs one statement outside of the test's database.
func (pg *PG) onServer(statement string) {
	pg.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.Server.DSN("postgres"))
	check(pg.t, "connect to postgres", err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	check(pg.t, "execute "+statement, err)
}
