package sink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

// guarded is an engine whose users have the shipped grants and no others.
type guarded struct {
	*trail
	database string
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	const database = "shop_trail" // not the name that the shipped file says
	db := harness.ClickHouseServer(t, func(c *engine.ClickHouseConfig) {
		c.Users = nil
		for name, grants := range sink.Grants(database) {
			u := engine.User{Name: name, Grants: grants}
			for _, table := range sink.Closed(name) {
				u.Filters = append(u.Filters, engine.RowFilter{Database: database, Table: table, Condition: "0"})
			}
			c.Users = append(c.Users, u)
		}
	})
	g := &guarded{&trail{db, t}, database}
	if _, err := sink.Migrate(t.Context(), g.as(engine.Admin)); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guarded) as(user string) store.Server {
	g.t.Helper()
	s, err := store.Parse(g.Server.DSN(user, g.database))
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func (g *guarded) connect(user string) driver.Conn {
	g.t.Helper()
	conn, err := g.as(user).Open(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// The grants are enough for all that the sink does.
func TestWriterCanWriteAndRecover(t *testing.T) {
	g := newGuarded(t)
	s := sink.New(g.as(sink.Writer), quick(), "shop", zerolog.New(zerolog.NewTestWriter(t)))
	defer s.Close()
	if err := s.CreateGenesis(t.Context(), store.Genesis{Stream: "shop"}, ""); err != nil {
		t.Error(err)
	}
	head := insert(t, s, genesis(), 10)
	if got, err := s.Recover(t.Context()); err != nil || got != head {
		t.Errorf("recovers %+v (%v), want %+v", got, err, head)
	}
	if err := s.SavePosition(t.Context(), 7); err != nil {
		t.Error(err)
	}
	if lsn, err := s.LastPosition(t.Context()); err != nil || lsn != 7 {
		t.Errorf("last position is %s (%v)", lsn, err)
	}
	// Killing what an earlier process left running, as the fence does it.
	if err := g.connect(sink.Writer).Exec(t.Context(), "KILL QUERY WHERE startsWith(query_id, 'pgwitness/shop/') ASYNC"); err != nil {
		t.Error(err)
	}
}

// Nobody whom we create can change or remove what is stored, and who writes
// cannot read values.
func TestGrantsRefuseTheRest(t *testing.T) {
	g := newGuarded(t)
	s := sink.New(g.as(sink.Writer), quick(), "shop", zerolog.New(zerolog.NewTestWriter(t)))
	defer s.Close()
	insert(t, s, genesis(), 10)
	changes := []string{
		"ALTER TABLE audit_logs DELETE WHERE 1", "ALTER TABLE audit_logs UPDATE actor_id = 'x' WHERE 1",
		"DELETE FROM audit_logs WHERE 1", "UPDATE audit_logs SET actor_id = 'x' WHERE 1",
		"TRUNCATE TABLE audit_logs", "DROP TABLE audit_logs", "DETACH TABLE audit_logs", "RENAME TABLE audit_logs TO x",
		"ALTER TABLE audit_logs DROP PARTITION 202601", "ALTER TABLE audit_logs DETACH PARTITION 202601",
		"ALTER TABLE audit_logs MODIFY TTL timestamp + INTERVAL 1 DAY", "ALTER TABLE audit_logs MODIFY COLUMN seal String",
		"ALTER TABLE audit_logs MODIFY SETTING non_replicated_deduplication_window = 0", "ALTER TABLE audit_logs ADD COLUMN x Int8",
		"CREATE TABLE x (a Int8) ENGINE = MergeTree ORDER BY a", "DROP DATABASE " + g.database, "OPTIMIZE TABLE audit_logs FINAL",
		"EXCHANGE TABLES audit_logs AND genesis", "DELETE FROM slot_positions WHERE 1", "DELETE FROM genesis WHERE 1",
		"CREATE USER x", "GRANT SELECT ON *.* TO " + sink.Writer, "SYSTEM STOP MERGES audit_logs",
	}
	for user, refused := range map[string][]string{
		sink.Writer: append([]string{
			"SELECT new_values FROM audit_logs", "SELECT old_values FROM audit_logs", "SELECT actor_id FROM audit_logs", "SELECT * FROM audit_logs",
			"SELECT resource_id FROM audit_logs", "SELECT count() FROM audit_logs WHERE actor_id = 'alice'", "INSERT INTO schema_versions (version_id) VALUES (9)",
		}, changes...),
		sink.Reader: append([]string{
			"INSERT INTO audit_logs (stream) VALUES ('shop')", "INSERT INTO genesis (stream) VALUES ('shop')",
			"INSERT INTO slot_positions (stream, lsn) VALUES ('shop', 1)",
		}, changes...),
	} {
		conn := g.connect(user)
		for _, statement := range refused {
			err := conn.Exec(t.Context(), statement)
			if store.Code(err) != store.CodeAccessDenied {
				t.Errorf("%s: %s: %v, want that it is refused by a missing grant", user, statement, err)
			}
		}
	}
	var n uint64
	if err := g.connect(sink.Reader).QueryRow(t.Context(), "SELECT count() FROM audit_logs WHERE actor_id = 'alice' AND new_values != ''").Scan(&n); err != nil || n != 10 {
		t.Errorf("the reader sees %d entries (%v), want all 10", n, err)
	}
}

// Who has the role of the vault sees personal values in audit_trail; the reader
// sees tokens there, and no key; the sink sees keys, and no value.
func TestOnlyTheVaultOpensTokens(t *testing.T) {
	g := newGuarded(t)
	digits := strings.Repeat("ab", 32)
	sunk := g.connect(sink.Writer)
	for _, statement := range []string{
		"INSERT INTO subjects (stream, subject, subject_key) VALUES ('shop', 'customer:1', repeat('k', 32))",
		"INSERT INTO openings (stream, token, class, value, subject) SELECT 'shop', unhex('" + digits + "'), 'email', 'al\"ice@example.com', 'customer:1'",
		`INSERT INTO audit_logs (stream, sequence, timestamp, operation, resource_id, actor_email, old_values, new_values, attribution) VALUES ('shop', 0, now64(6), 'insert', 'pii:` + digits + `/7',
			'pii:` + digits + `', NULL, '{"email":"pii:` + digits + `","note":"\\"pii:x","n":1}', '{"observed":{"host":"pii:` + strings.Repeat("cd", 32) + `"}}')`,
	} {
		if err := sunk.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	read := func(user string) (text string) {
		query := "SELECT arrayStringConcat([assumeNotNull(resource_id), assumeNotNull(actor_email), ifNull(old_values, 'NULL'), assumeNotNull(new_values), assumeNotNull(attribution)], ' ') FROM audit_trail"
		if err := g.connect(user).QueryRow(t.Context(), query).Scan(&text); err != nil {
			t.Error(err)
		}
		return text
	}
	token, host := "pii:"+digits, `{"observed":{"host":"pii:`+strings.Repeat("cd", 32)+`"}}`
	if got, want := read(sink.Reader), token+`/7 `+token+` NULL {"email":"`+token+`","note":"\"pii:x","n":1} `+host; got != want {
		t.Errorf("the reader sees %s, want %s", got, want)
	}
	if got, want := read(sink.Vault), `al"ice@example.com/7 al"ice@example.com NULL {"email":"al\"ice@example.com","note":"\"pii:x","n":1} `+host; got != want {
		t.Errorf("the vault sees %s, want %s", got, want)
	}
	var n uint64
	if err := g.connect(sink.Reader).QueryRow(t.Context(), "SELECT count() FROM openings").Scan(&n); err != nil || n != 0 {
		t.Errorf("the reader sees %d openings, %v", n, err)
	}
	if err := sunk.QueryRow(t.Context(), "SELECT count(subject_key) FROM subjects WHERE stream = 'shop' AND subject = 'customer:1'").Scan(&n); err != nil || n != 1 {
		t.Errorf("the sink finds %d keys, %v", n, err)
	}
	for user, statement := range map[string]string{
		sink.Reader: "SELECT subject_key FROM subjects", sink.Writer: "SELECT value FROM openings", sink.Vault: "DELETE FROM openings WHERE 1",
	} {
		if err := g.connect(user).Exec(t.Context(), statement); store.Code(err) != store.CodeAccessDenied {
			t.Errorf("%s: %s: %v, want that it is refused", user, statement, err)
		}
	}
}

// The engine cannot create users, but it can parse what a server would run.
func TestAccessStatementsAreSQL(t *testing.T) {
	tr := newTrail(t)
	statements := sink.AccessStatements("shop_trail")
	if len(statements) < 8 {
		t.Errorf("only %d statements", len(statements))
	}
	conn := tr.Connect(engine.Admin)
	for _, s := range statements {
		var formatted string
		if err := conn.QueryRow(t.Context(), "SELECT formatQuerySingleLine(?)", s).Scan(&formatted); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if strings.Contains(s, " pgwitness.") || strings.Contains(s, "--") {
			t.Errorf("the statement is not for this database, or has a comment: %s", s)
		}
	}
}

func TestMigrateTwiceChangesNothing(t *testing.T) {
	db := harness.ClickHouse(t)
	db.Exec("DROP DATABASE " + db.Database + " SYNC") // Migrate makes it
	tr := &trail{db, t}
	admin := tr.server(engine.Admin)
	pending, newer, err := sink.Pending(t.Context(), admin)
	if err != nil || len(pending) < 3 || newer != 0 {
		t.Fatalf("pending before: %v, newer %d, %v", pending, newer, err)
	}
	if n := tr.Value("SELECT count() FROM system.databases WHERE name = '" + tr.Database + "'"); n != "0" {
		t.Error("looking for pending steps made the database")
	}
	applied, err := sink.Migrate(t.Context(), admin)
	if err != nil || fmt.Sprint(applied) != fmt.Sprint(pending) {
		t.Fatalf("applied %v (%v), want %v", applied, err, pending)
	}
	schema := func() string {
		return tr.Value("SELECT arrayStringConcat(arraySort(groupArray(create_table_query)), '\n') FROM system.tables WHERE database = '" + tr.Database + "'")
	}
	before := schema()
	if applied, err := sink.Migrate(t.Context(), admin); err != nil || len(applied) != 0 {
		t.Errorf("the second time applies %v (%v)", applied, err)
	}
	if after := schema(); after != before {
		t.Errorf("the second time changes the schema from\n%s\nto\n%s", before, after)
	}
	if pending, newer, err := sink.Pending(t.Context(), admin); err != nil || len(pending) != 0 || newer != 0 {
		t.Errorf("pending after: %v, newer %d, %v", pending, newer, err)
	}
	tr.Exec("INSERT INTO " + tr.Database + ".schema_versions (version_id, is_applied) VALUES (1000, 1)")
	if _, newer, err := sink.Pending(t.Context(), admin); err != nil || newer != 1000 {
		t.Errorf("a schema of a later version: newer %d, %v", newer, err)
	}
}

// Somebody who only knows SQL finds in the database what each column means.
func TestEveryColumnHasAComment(t *testing.T) {
	tr := newTrail(t)
	bare := tr.Value("SELECT arrayStringConcat(groupArray(concat(table, '.', name)), ' ') FROM system.columns WHERE database = '" +
		tr.Database + "' AND comment = '' AND table != 'schema_versions'")
	if bare != "" {
		t.Errorf("columns without a comment: %s", bare)
	}
}
