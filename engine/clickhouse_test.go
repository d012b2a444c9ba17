package engine_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/test/harness"
	"go.uber.org/goleak"
)

// auditUsers are users with the kinds of rights that the role matrix needs.
func auditUsers(c *engine.ClickHouseConfig) {
	c.Users = []engine.User{
		{Name: "writer", Grants: []string{"GRANT SELECT, INSERT ON t.*", "GRANT SELECT ON system.processes"}},
		{Name: "clerk", Grants: []string{"GRANT SELECT(id, who) ON t.log", "GRANT finance"},
			Filters: []engine.RowFilter{{Database: "t", Table: "log", Condition: "who < 'n' AND id > 0"}}},
		{Name: "nobody_yet"},
	}
	c.Roles = []engine.Role{{Name: "finance", Grants: []string{"GRANT SELECT ON t.prices"}}}
}

// auditTables fills an engine with what the tests of rights read.
func auditTables(ch *harness.CH) {
	ch.Exec("CREATE DATABASE t")
	ch.Exec("CREATE TABLE t.log (id Int64, who String, secret String) ENGINE = MergeTree ORDER BY id")
	ch.Exec("INSERT INTO t.log VALUES (1, 'anna', 's'), (2, 'zoe', 's')")
	ch.Exec("CREATE TABLE t.prices (id Int64, price Int64) ENGINE = MergeTree ORDER BY id")
	ch.Exec("INSERT INTO t.prices VALUES (1, 10), (2, 20)")
}

func TestClickHouseUsersHaveTheRightsOfTheirFile(t *testing.T) {
	ch := harness.ClickHouseServer(t, auditUsers)
	auditTables(ch)
	tests := []struct {
		user, statement string
		want            string // a value, or a part of the refusal
	}{
		{"clerk", "SELECT arrayStringConcat(groupArray(who)) FROM t.log", "anna"}, // row policy
		{"clerk", "SELECT secret FROM t.log", "ACCESS_DENIED"},                    // column grant
		{"clerk", "SELECT toString(sum(price)) FROM t.prices", "30"},              // role
		{"clerk", "SELECT toString(price) FROM t.log l JOIN t.prices p ON l.id = p.id", "10"},
		{"clerk", "SELECT query FROM system.query_log", "ACCESS_DENIED"},
		{"clerk", "SELECT line FROM file('/etc/passwd', LineAsString, 'line String')", "ACCESS_DENIED"},
		{"writer", "SELECT toString(count()) FROM t.log", "2"},
		{"writer", "ALTER TABLE t.log DELETE WHERE 1", "ACCESS_DENIED"},
		{"writer", "TRUNCATE TABLE t.log", "ACCESS_DENIED"},
		{"writer", "DROP TABLE t.log", "ACCESS_DENIED"},
		{"writer", "SELECT arrayStringConcat(groupUniqArray(user)) FROM system.processes", "writer"},
		{"nobody_yet", "SELECT who FROM t.log", "ACCESS_DENIED"},
	}
	for _, tt := range tests {
		if got := answer(t, ch, tt.user, tt.statement); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s\n got %s\nwant %s", tt.user, tt.statement, got, tt.want)
		}
	}
}

// answer returns the one string that a statement yields, or the error's text with its name.
func answer(t *testing.T, ch *harness.CH, user, statement string) string {
	t.Helper()
	var got string
	err := connect(t, ch, user).QueryRow(testContext(t), statement).Scan(&got)
	var refused *clickhouse.Exception
	if errors.As(err, &refused) {
		return refused.Message + " " + map[int32]string{497: "ACCESS_DENIED", 700: "USER_SESSION_LIMIT_EXCEEDED"}[refused.Code]
	}
	if err != nil {
		return err.Error()
	}
	return got
}

func connect(t *testing.T, ch *harness.CH, user string) clickhouse.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(ch.Server.DSN(user, "default"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// The engine's own session is the user default without a password; nobody else may be that user.
func TestClickHouseDefaultUserIsClosed(t *testing.T) {
	ch := harness.ClickHouse(t)
	if got := answer(t, ch, "default", "SELECT '1'"); !strings.Contains(got, "USER_SESSION_LIMIT_EXCEEDED") {
		t.Errorf("user default gets the answer %q, want a refusal", got)
	}
}

// An engine that takes its session for a script ends at the first client that misbehaves.
func TestClickHouseOutlivesBadClients(t *testing.T) {
	ch := harness.ClickHouseServer(t)
	good, err := url.Parse(ch.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"admin:wrong", "stranger:wrong"} {
		options, err := clickhouse.ParseDSN("clickhouse://" + login + "@" + good.Host)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := clickhouse.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(conn.Ping(testContext(t)), conn.Close()); err == nil {
			t.Errorf("%s may log in", login)
		}
	}
	for _, nonsense := range []string{"GET / HTTP/1.1\r\n\r\n", "\x00\xff\xff\xff\xff", ""} {
		hangUpOn(t, good.Host, nonsense)
		hangUpOn(t, strings.TrimPrefix(ch.Server.HTTPURL(), "http://"), nonsense)
	}
	abandonInsert(t, ch)
	if got := ch.Value("SELECT 'alive'"); got != "alive" {
		t.Errorf("the engine answers %q", got)
	}
	select {
	case <-ch.Server.Done():
		t.Error("the engine has ended")
	default:
	}
}

// hangUpOn sends something and breaks the connection off without a goodbye.
func hangUpOn(t *testing.T, host, nonsense string) {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(nonsense)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close()); err != nil {
		t.Fatal(err)
	}
}

// abandonInsert breaks a connection off in the middle of an insert and waits until the engine has
// noticed.
func abandonInsert(t *testing.T, ch *harness.CH) {
	t.Helper()
	ch.Exec("CREATE TABLE " + ch.Database + ".half (a Int64) ENGINE = MergeTree ORDER BY a")
	options, err := clickhouse.ParseDSN(ch.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	var wire net.Conn
	options.DialContext = func(ctx context.Context, addr string) (net.Conn, error) {
		wire, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
		return wire, err
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := conn.PrepareBatch(testContext(t), "INSERT INTO "+ch.Database+".half")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(batch.Append(int64(1)), batch.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(wire.(*net.TCPConn).SetLinger(0), wire.Close()); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close() // it finds its connection gone
	for deadline := testContext(t); ; {
		if ch.Value("SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO %half%'") == "0" {
			return
		}
		if deadline.Err() != nil {
			t.Fatal("the insert is still there")
		}
	}
}

func TestClickHouseKeepsDataAndPorts(t *testing.T) {
	ch := harness.ClickHouseServer(t)
	ch.Exec("CREATE TABLE " + ch.Database + ".t (a Int64) ENGINE = MergeTree ORDER BY a")
	address := ch.Server.DSN("sink", "x") + ch.Server.HTTPURL()
	for _, interruption := range []struct {
		name string
		end  func()
		rows string
	}{
		{"stop", ch.Stop, "1"},
		{"kill", ch.Kill, "2"},
		{"terminate the child", func() { terminate(t, ch.Server) }, "3"},
	} {
		ch.Exec("INSERT INTO " + ch.Database + ".t VALUES (1)")
		interruption.end()
		ch.Start()
		if got := ch.Value("SELECT count() FROM " + ch.Database + ".t"); got != interruption.rows {
			t.Errorf("after %s: %s rows, want %s", interruption.name, got, interruption.rows)
		}
		if got := ch.Server.DSN("sink", "x") + ch.Server.HTTPURL(); got != address {
			t.Errorf("after %s: address %s, want %s", interruption.name, got, address)
		}
	}
}

// terminate sends the signal that a service manager sends to every process of a service.
func terminate(t *testing.T, server *engine.ClickHouse) {
	t.Helper()
	if err := syscall.Kill(server.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-server.Done():
	case <-testContext(t).Done():
		t.Fatal("the engine did not end on SIGTERM")
	}
}

// Reads of the trail are audited from the query log, so no restart may lose or stop it.
func TestClickHouseQueryLogOutlivesRestarts(t *testing.T) {
	ch := harness.ClickHouseServer(t)
	for i, end := range []func(){ch.Stop, ch.Kill, ch.Stop} {
		ch.Exec("SELECT 'mark', " + string(rune('0'+i)))
		ch.Exec("SYSTEM FLUSH LOGS query_log")
		end()
		ch.Start()
	}
	ch.Exec("SELECT 'mark', 9")
	ch.Exec("SYSTEM FLUSH LOGS query_log")
	got := ch.Value("SELECT arrayStringConcat(arraySort(groupArray(substring(query, 16, 1)))) FROM system.query_log" +
		" WHERE query LIKE 'SELECT ''mark''%' AND type = 'QueryFinish'")
	if got != "0129" {
		t.Errorf("query log has the marks %q, want 0129", got)
	}
}

// A disk that was full leaves parts of the query log without contents. They
// cost what they held, and not the start.
func TestClickHouseStartsWithABrokenQueryLog(t *testing.T) {
	dir := ""
	ch := harness.ClickHouseServer(t, func(c *engine.ClickHouseConfig) { dir = c.Dir })
	ch.Exec("SYSTEM FLUSH LOGS query_log")
	ch.Kill()
	columns, err := filepath.Glob(filepath.Join(dir, "data/data/system/query_log/*/columns.txt"))
	if err != nil || len(columns) == 0 {
		t.Fatalf("parts of the query log: %v, %v", columns, err)
	}
	for _, file := range columns {
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		ch.Start()
		ch.Exec("SELECT 'mark'")
		ch.Exec("SYSTEM FLUSH LOGS query_log")
		if got := ch.Value("SELECT count() FROM system.query_log WHERE query = 'SELECT ''mark''' AND type = 'QueryFinish'"); got == "0" {
			t.Error("nothing more is logged")
		}
		ch.Stop()
	}
	if kept, err := filepath.Glob(filepath.Join(dir, "query_log/refused/*/columns.txt")); err != nil || len(kept) == 0 {
		t.Errorf("the broken parts are not kept: %v", err)
	}
}

func TestClickHouseUsersCanChange(t *testing.T) {
	ch := harness.ClickHouseServer(t)
	before := ch.Server.Password("sink")
	ch.Stop()
	ch.Server.SetUsers(append(harness.Users(), engine.User{Name: "late", Password: "given"}), nil)
	ch.Start()
	if got := answer(t, ch, "late", "SELECT currentUser()"); got != "late" {
		t.Errorf("a user added before a restart gets %q", got)
	}
	if ch.Server.Password("sink") != before {
		t.Error("a generated password changed at a restart")
	}
}

// What the audit schema needs of an engine besides tables and users.
func TestClickHouseServesTheSchema(t *testing.T) {
	ch := harness.ClickHouse(t)
	table := ch.Database + ".t"
	ch.Exec("CREATE TABLE " + table + " (a Int64, b String) ENGINE = MergeTree ORDER BY a" +
		" SETTINGS non_replicated_deduplication_window = 100, storage_policy = '" + engine.TieredPolicy + "'")
	ctx := clickhouse.Context(testContext(t), clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token": "tx 7",
	}))
	conn := ch.Connect(engine.Admin)
	for range 2 {
		insert(t, ctx, conn, table)
	}
	if got := ch.Value("SELECT count() FROM " + table); got != "2" {
		t.Errorf("%s rows after the same insert twice, want 2", got)
	}
	file := filepath.Join(harness.Folder(t), "t.parquet")
	ch.Exec("INSERT INTO FUNCTION file('" + file + "') SELECT * FROM " + table)
	if got := ch.Value("SELECT count() FROM file('" + file + "')"); got != "2" {
		t.Errorf("%s rows in the Parquet file, want 2", got)
	}
	ch.Exec("ALTER TABLE " + table + " MOVE PARTITION tuple() TO VOLUME 'cold'")
	if got := ch.Value("SELECT any(disk_name) FROM system.parts WHERE active AND database = '" + ch.Database + "'"); got != "cold" {
		t.Errorf("the part is on disk %q, want cold", got)
	}
}

func insert(t *testing.T, ctx context.Context, conn clickhouse.Conn, table string) {
	t.Helper()
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(2) {
		if err := batch.Append(i, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
}

// A sink fences its own insert of an earlier life by its query id.
func TestClickHouseUserKillsOwnQuery(t *testing.T) {
	ch := harness.ClickHouse(t)
	ended := make(chan error, 1)
	slow := connect(t, ch, "sink")
	go func() {
		ctx := clickhouse.Context(context.Background(), clickhouse.WithQueryID("slow "+ch.Database))
		ended <- slow.Exec(ctx, "SELECT sleepEachRow(1) FROM numbers(60) SETTINGS max_block_size = 1 FORMAT Null")
	}()
	killer := connect(t, ch, "sink")
	deadline := testContext(t)
	for {
		if err := killer.Exec(deadline, "KILL QUERY WHERE query_id = 'slow "+ch.Database+"' SYNC"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			var cancelled *clickhouse.Exception
			if !errors.As(err, &cancelled) || cancelled.Code != 394 {
				t.Errorf("the killed query ended with %v, want QUERY_WAS_CANCELLED", err)
			}
			return
		case <-time.After(50 * time.Millisecond): // it has not begun yet
		case <-deadline.Done():
			t.Fatal("the query did not end")
		}
	}
}

func TestClickHouseSaysWhyItDoesNotStart(t *testing.T) {
	running := harness.ClickHouseServer(t)
	port := portOf(t, running.Server.HTTPURL())
	var taken engine.ClickHouseConfig
	harness.ClickHouseServer(t, func(c *engine.ClickHouseConfig) { taken = *c })
	tests := []struct {
		name   string
		change func(*engine.ClickHouseConfig)
		want   string
	}{
		{"no library", func(c *engine.ClickHouseConfig) { c.Library = "/nowhere/libchdb.so" }, "find clickhouse library"},
		{"not a library", func(c *engine.ClickHouseConfig) { c.Library = os.Args[0] }, "load clickhouse library"},
		{"port taken", func(c *engine.ClickHouseConfig) { c.HTTPPort = port }, "port is taken"},
		{"no such program", func(c *engine.ClickHouseConfig) { c.Executable = []string{"/nowhere"} }, "start /nowhere"},
		{"bad name", func(c *engine.ClickHouseConfig) { c.Users = []engine.User{{Name: "a b"}} }, `user "a b"`},
		{"own name", func(c *engine.ClickHouseConfig) { c.Users = []engine.User{{Name: "admin"}} }, "the engine's own"},
		{"folder in use", func(c *engine.ClickHouseConfig) { c.Dir = taken.Dir }, "lock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := taken
			config.Dir = harness.Folder(t)
			tt.change(&config)
			server := engine.NewClickHouse(config)
			err := server.Start(testContext(t))
			if err == nil {
				t.Cleanup(func() { _ = server.Kill() })
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("start says %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestClickHouseLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	ch := harness.ClickHouseServer(t)
	ch.Stop()
	goleak.VerifyNone(t, before)
}
