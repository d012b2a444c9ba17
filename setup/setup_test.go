package setup

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// TestServers runs every scenario on every PostgreSQL that is installed here,
// one server for each major, one database for each scenario.
func TestServers(t *testing.T) {
	scenarios := []struct {
		name string
		run  func(*testing.T, *database)
	}{
		{"setup twice changes nothing", setupTwice},
		{"teardown leaves it as it was", teardownRestores},
		{"printed SQL does the same", printedSQL},
		{"setups at once take turns", setupsAtOnce},
		{"setup resumes after a crash", setupResumes},
		{"a lock is waited for without blocking", lockIsWaitedFor},
		{"a table without key", tableWithoutKey},
		{"generated columns", generatedColumns},
		{"partitions", partitions},
		{"obstacles", obstacles},
		{"publication that was there before", foreignPublication},
		{"least privilege", leastPrivilege},
		{"the owner installs", ownerInstalls},
		{"active slot", activeSlot},
		{"findings", findings},
		{"slot before publication", slotBeforePublication},
		{"tampering is found and mended", tampering},
		{"check changes nothing", checkChangesNothing},

		{"DDL is recorded", ddlIsRecorded},
		{"DDL of tables", ddlOfTables},
		{"DDL that makes values unknown", ddlLoses},
		{"DDL leaves UPDATE alone", ddlLeavesUpdates},
		{"DDL makes new tables followed", ddlFollows},
		{"DDL never fails", ddlNeverFails},
		{"DDL under a hostile search path", ddlUnderHostileSearchPath},
		{"DDL of the auditor", ddlOfTheAuditor},
		{"DDL without event triggers", ddlWithoutEventTriggers},

		{"stamp once per context", stampOncePerContext},
		{"stamp facts", stampFacts},
		{"stamp presets", stampPresets},
		{"stamp directory", stampDirectory},
		{"stamp queries with comments", stampComments},
		{"stamp trigger depth", stampDepth},
		{"stamp every way of writing", stampEveryWay},
		{"stamp in the background", stampInBackground},
		{"case38 stamp size", stampSize},
		{"stamp cost", stampCost},
		{"stamp under a hostile search path", hostileSearchPath},
		{"stamp never raises", stampNeverRaises},
		{"stamp in other encodings", otherEncodings},
		{"keys stay secret", keysStaySecret},
		{"events", events},
		{"events that are reserved", reservedEvents},

		{"guard refuses", guardRefuses},
		{"guard comes, changes and goes", guardLifecycle},
		{"guard with a mistake", guardMistakes},
		{"guard under hostile settings", hostileGuard},
		{"an older event()", olderEvent},
		{"secret columns", secretColumns},
	}
	for _, version := range harness.PostgresVersions(t) {
		t.Run(version.String(), func(t *testing.T) {
			server := harness.PostgresServer(t, version.Major, map[string]string{"wal_level": "logical"})
			for i, s := range scenarios {
				t.Run(s.name, func(t *testing.T) {
					s.run(t, newDatabase(t, server, version.Major, fmt.Sprintf("s%d", i)))
				})
			}
		})
	}
}

// database is one database with a connection of the superuser.
type database struct {
	t      *testing.T
	server *harness.PG
	major  int
	name   string
	dsn    string
	conn   *pgx.Conn
}

func newDatabase(t *testing.T, server *harness.PG, major int, name string, options ...string) *database {
	t.Helper()
	server.Exec("CREATE DATABASE " + name + " " + strings.Join(options, " "))
	d := &database{t: t, server: server, major: major, name: name, dsn: server.Server.DSN(name)}
	d.conn = d.connect(d.dsn)
	return d
}

func (d *database) connect(dsn string) *pgx.Conn {
	d.t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// exec runs statements over conn, each transaction as the text says.
func (d *database) exec(statements ...string) {
	d.t.Helper()
	d.execOn(d.conn, statements...)
}

func (d *database) execOn(conn *pgx.Conn, statements ...string) {
	d.t.Helper()
	for _, s := range statements {
		if _, err := conn.Exec(context.Background(), s, pgx.QueryExecModeSimpleProtocol); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (d *database) value(query string, args ...any) string {
	d.t.Helper()
	var s *string
	if err := d.conn.QueryRow(context.Background(), query, args...).Scan(&s); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	if s == nil {
		return ""
	}
	return *s
}

// config audits every table of the schema public.
func (d *database) config() Config {
	return Config{
		DSN: d.dsn, Slot: d.name + "_slot", Publication: d.name + "_publication",
		Tables:      []Table{{Name: "public.*"}},
		LockTimeout: 200 * time.Millisecond,
	}
}

// shop is a small schema with an orders table that references customers.
const shop = `
	CREATE TABLE customers (id int PRIMARY KEY, name text);
	CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers ON DELETE CASCADE, note text);`

func (d *database) prepare(cfg Config) *Plan {
	d.t.Helper()
	plan, err := Prepare(context.Background(), cfg)
	if err != nil {
		d.t.Fatalf("%v\nhint: %s", err, audit.Hint(err))
	}
	return plan
}

// setup does what pgwitness setup does.
func (d *database) setup(cfg Config) {
	d.t.Helper()
	if err := Apply(context.Background(), cfg, d.prepare(cfg), nil); err != nil {
		d.t.Fatalf("%v\nhint: %s", err, audit.Hint(err))
	}
}

func (d *database) teardown(cfg Config) {
	d.t.Helper()
	plan, err := PrepareTeardown(context.Background(), cfg)
	if err == nil {
		err = Teardown(context.Background(), cfg, plan, nil)
	}
	if err != nil {
		d.t.Fatalf("%v\nhint: %s", err, audit.Hint(err))
	}
}

// find returns the findings of one check, by subject.
func (d *database) find(cfg Config, check string) map[string]audit.Finding {
	d.t.Helper()
	all, err := Check(context.Background(), cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	found := map[string]audit.Finding{}
	for _, f := range all {
		if f.Check == check {
			found[f.Subject] = f
		}
	}
	return found
}

// failures lists the findings of severity failure, as check: subject.
func (d *database) failures(cfg Config) []string {
	d.t.Helper()
	all, err := Check(context.Background(), cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	var failed []string
	for _, f := range all {
		if f.Severity == audit.Failure {
			failed = append(failed, strings.TrimSuffix(f.Check+": "+f.Subject, ": "))
		}
	}
	return failed
}
