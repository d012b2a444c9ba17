package harness

import (
	"fmt"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/pgwitness/pgwitness/engine"
)

// CH is a database name of one test on a ClickHouse engine. The database exists and is empty.
type CH struct {
	t testing.TB
	// Server is the engine that the database is on.
	Server *engine.ClickHouse
	// Database is the database's name.
	Database string

	private bool
	conn    driver.Conn // of the helpers; nil until needed and after a kill
}

// Users are the users of the shared engine beside engine.Admin: "sink" writes, "reader" reads. Their
// grants hold for the databases of all tests. A test of finer rights starts a ClickHouseServer.
func Users() []engine.User {
	databases := namePrefix + "*.*"
	return []engine.User{
		{Name: "sink", Grants: []string{
			"GRANT SELECT, INSERT ON " + databases,
			"GRANT SELECT ON system.processes",
			"GRANT SELECT ON system.parts",
		}},
		{Name: "reader", Grants: []string{"GRANT SELECT ON " + databases}},
	}
}

// ClickHouse returns a fresh database on the shared engine. It is dropped after the test.
func ClickHouse(t testing.TB) *CH {
	t.Helper()
	ch := &CH{t: t, Server: sharedClickHouse(t), Database: uniqueName()}
	t.Cleanup(ch.disconnect)
	ch.Exec("CREATE DATABASE " + ch.Database)
	t.Cleanup(func() { ch.Exec("DROP DATABASE IF EXISTS " + ch.Database + " SYNC") })
	return ch
}

func sharedClickHouse(t testing.TB) *engine.ClickHouse {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.clickhouse == nil {
		shared.clickhouse = startClickHouse(t, nil)
	}
	return shared.clickhouse
}

// ClickHouseServer returns a database on an engine of the test's own, which is gone after the test.
// The configure functions may change users, ports and limits before it starts.
func ClickHouseServer(t testing.TB, configure ...func(*engine.ClickHouseConfig)) *CH {
	t.Helper()
	ch := &CH{t: t, Database: uniqueName(), private: true}
	ch.Server = startClickHouse(t, configure)
	t.Cleanup(func() {
		ch.disconnect()
		check(t, "stop clickhouse", ch.Server.Kill())
	})
	ch.Exec("CREATE DATABASE " + ch.Database)
	return ch
}

func startClickHouse(t testing.TB, configure []func(*engine.ClickHouseConfig)) *engine.ClickHouse {
	t.Helper()
	config := engine.ClickHouseConfig{
		Library:    Parts(t).ClickHouse,
		Dir:        serverFolder(t, "clickhouse"),
		Users:      Users(),
		Executable: []string{ClickHouseServerBinary(t)},
	}
	for _, change := range configure {
		change(&config)
	}
	server := engine.NewClickHouse(config)
	ctx, cancel := patient()
	defer cancel()
	check(t, "start clickhouse", server.Start(ctx))
	return server
}

// DSN is a user's address of the database for clickhouse-go.
func (ch *CH) DSN(user string) string { return ch.Server.DSN(user, ch.Database) }

// AdminDSN is the administrator's address of the database.
func (ch *CH) AdminDSN() string { return ch.DSN(engine.Admin) }

// Connect opens a connection pool of a user, which is closed after the test.
func (ch *CH) Connect(user string) driver.Conn {
	ch.t.Helper()
	conn := ch.open(ch.DSN(user))
	ch.t.Cleanup(func() {
		// The engine may be gone by now; what matters is that our side is closed.
		_ = conn.Close()
	})
	return conn
}

func (ch *CH) open(dsn string) driver.Conn {
	ch.t.Helper()
	options, err := clickhouse.ParseDSN(dsn)
	check(ch.t, "read clickhouse address", err)
	conn, err := clickhouse.Open(options)
	check(ch.t, "open clickhouse", err)
	return conn
}

// Exec runs one statement as the administrator.
func (ch *CH) Exec(statement string, args ...any) {
	ch.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	check(ch.t, "execute "+statement, ch.helper().Exec(ctx, statement, args...))
}

// Value returns the one value of a query as text, as fmt prints it.
func (ch *CH) Value(query string, args ...any) string {
	ch.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	var value string
	wrapped := "SELECT ifNull(toString((" + query + ")), '')"
	check(ch.t, "query "+query, ch.helper().QueryRow(ctx, wrapped, args...).Scan(&value))
	return value
}

// Each asks as the user reader, in the test's database, and calls row for every row of the answer, with
// the function that reads its columns.
func (ch *CH) Each(row func(scan func(into ...any)), query string, args ...any) {
	ch.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	conn := ch.open(ch.DSN("reader"))
	defer conn.Close()
	rows, err := conn.Query(ctx, query, args...)
	check(ch.t, "query "+query, err)
	defer rows.Close()
	for rows.Next() {
		row(func(into ...any) { check(ch.t, "read an answer to "+query, rows.Scan(into...)) })
	}
	check(ch.t, "query "+query, rows.Err())
}

// helper is the pool of Exec and Value. It starts in no database, as the test's may not exist yet.
func (ch *CH) helper() driver.Conn {
	ch.t.Helper()
	if ch.conn == nil {
		ch.conn = ch.open(ch.Server.DSN(engine.Admin, "default"))
	}
	return ch.conn
}

func (ch *CH) disconnect() {
	if ch.conn == nil {
		return
	}
	// The engine may be gone by now; what matters is that our side is closed.
	_ = ch.conn.Close()
	ch.conn = nil
}

// Kill ends the engine with SIGKILL; Start brings it back on the same ports.
func (ch *CH) Kill() {
	ch.t.Helper()
	ch.mustOwn()
	ch.disconnect()
	check(ch.t, "kill clickhouse", ch.Server.Kill())
}

// Stop shuts the engine down in order.
func (ch *CH) Stop() {
	ch.t.Helper()
	ch.mustOwn()
	ch.disconnect()
	ctx, cancel := patient()
	defer cancel()
	check(ch.t, "stop clickhouse", ch.Server.Stop(ctx))
}

// Start starts the engine again after Kill or Stop.
func (ch *CH) Start() {
	ch.t.Helper()
	ch.mustOwn()
	ctx, cancel := patient()
	defer cancel()
	check(ch.t, "start clickhouse", ch.Server.Start(ctx))
}

// Restart is Stop and Start.
func (ch *CH) Restart() {
	ch.t.Helper()
	ch.Stop()
	ch.Start()
}

func (ch *CH) mustOwn() {
	ch.t.Helper()
	if !ch.private {
		ch.t.Fatal("stop a shared engine: take one with harness.ClickHouseServer")
	}
}

// String names the database in test output.
func (ch *CH) String() string { return fmt.Sprintf("clickhouse database %s", ch.Database) }
