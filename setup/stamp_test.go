package setup

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// log reads what the slot has to tell since it was asked last: stamps and
// events as "kind payload", changes as "insert orders". Every message of ours
// must bear a good MAC and the number of its transaction.
func (d *database) log() []string {
	d.t.Helper()
	cfg := d.config()
	keys, err := Secrets(context.Background(), d.conn)
	if err != nil {
		d.t.Fatal(err)
	}
	rows, err := d.conn.Query(context.Background(),
		`SELECT xid::text, data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL,
		        'proto_version', '1', 'publication_names', $2, 'messages', 'true')`, cfg.Slot, cfg.Publication)
	if err != nil {
		d.t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	relations := map[uint32]string{}
	for rows.Next() {
		var xid string
		var data []byte
		if err := rows.Scan(&xid, &data); err != nil {
			d.t.Fatal(err)
		}
		message, err := pglogrepl.Parse(data)
		if err != nil {
			d.t.Fatal(err)
		}
		switch m := message.(type) {
		case *pglogrepl.RelationMessage:
			relations[m.RelationID] = m.RelationName
		case *pglogrepl.InsertMessage:
			lines = append(lines, "insert "+relations[m.RelationID])
		case *pglogrepl.UpdateMessage:
			lines = append(lines, "update "+relations[m.RelationID])
		case *pglogrepl.DeleteMessage:
			lines = append(lines, "delete "+relations[m.RelationID])
		case *pglogrepl.TruncateMessage:
			lines = append(lines, "truncate")
		case *pglogrepl.LogicalDecodingMessage:
			if m.Prefix == "pgwitness.end" {
				continue // it says nothing, see ddl.sql
			}
			lines = append(lines, d.open(m, xid, keys))
		}
	}
	if err := rows.Err(); err != nil {
		d.t.Fatal(err)
	}
	return lines
}

// open checks a message of ours as the sidecar does.
func (d *database) open(m *pglogrepl.LogicalDecodingMessage, xid string, keys Keys) string {
	d.t.Helper()
	if m.Prefix != "pgwitness" || len(m.Content) < 18 {
		d.t.Fatalf("message %q of %d bytes", m.Prefix, len(m.Content))
	}
	kind, mac, payload := m.Content[:2], m.Content[2:18], m.Content[18:]
	h := hmac.New(sha256.New, keys.Stamp[:])
	h.Write(kind)
	h.Write(payload)
	if !bytes.Equal(h.Sum(nil)[:16], mac) {
		d.t.Errorf("the MAC of %s is wrong", payload)
	}
	if !json.Valid(payload) {
		d.t.Errorf("the payload is not JSON: %s", payload)
	}
	number, rest, _ := strings.Cut(strings.TrimPrefix(string(payload), `{"x":`), ",")
	if full, err := strconv.ParseUint(number, 10, 64); err != nil || m.Transactional && strconv.FormatUint(full&0xffffffff, 10) != xid {
		d.t.Errorf("the payload %s was written by transaction %s", payload, xid)
	}
	return string(kind) + " {" + rest
}

// stamped is a database with the shop, set up, its slot read empty.
func (d *database) stamped(more ...string) {
	d.t.Helper()
	d.exec(append([]string{shop}, more...)...)
	cfg := d.config()
	cfg.DDL = DDLOff // nothing but stamps is in the log
	d.setup(cfg)
	d.exec("INSERT INTO customers SELECT i, 'c' || i FROM generate_series(1, 9) i",
		"INSERT INTO orders SELECT i, i, '' FROM generate_series(1, 9) i")
	d.log()
}

// fields picks the keys of the stamps out of the log, and keeps all else.
func fields(lines []string, keys ...string) []string {
	picked := slices.Clone(lines)
	for i, line := range lines {
		kind, payload, isMessage := strings.Cut(line, " {")
		if !isMessage {
			continue
		}
		var all map[string]any
		if err := json.Unmarshal([]byte("{"+payload), &all); err != nil {
			picked[i] = err.Error()
			continue
		}
		picked[i] = kind
		for _, k := range keys {
			v := all[k]
			if claims, ok := all["c"].(map[string]any); ok && v == nil {
				v = claims[shortName(k)]
			}
			picked[i] += fmt.Sprintf(" %v", v)
		}
	}
	return picked
}

// shortName is what a claim is called in a stamp.
func shortName(claim string) string {
	return map[string]string{
		"actor_id": "i", "actor_email": "e", "actor_role": "r", "actor_type": "t", "reason_code": "c", "reason_note": "n", "ip_address": "a",
		"user_agent": "u", "source": "s", "request_id": "q", "api_key_id": "k", "mfa_at": "m", "context": "x",
	}[claim]
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
}

func stampOncePerContext(t *testing.T, d *database) {
	d.stamped()
	d.exec("BEGIN; SET LOCAL audit.actor_id = 'alice'",
		"INSERT INTO orders VALUES (10, 1, 'x')", "UPDATE orders SET note = 'y' WHERE id = 10", "UPDATE orders SET note = 'y' WHERE id = 0",
		"SET LOCAL audit.actor_id = 'bob'", "DELETE FROM orders WHERE id = 10",
		"SAVEPOINT s; SET LOCAL audit.actor_id = 'carol'", "UPDATE orders SET note = 'z' WHERE id = 1", "ROLLBACK TO s",
		"UPDATE orders SET note = 'w' WHERE id = 1", // bob's stamp stands, and the memory of it
		"SET LOCAL audit.actor_id = 'carol'", "UPDATE customers SET name = 'v' WHERE id = 1",
		"COMMIT")
	want(t, fields(d.log(), "actor_id"), "S1 alice", "insert orders", "update orders",
		"S1 bob", "delete orders", "update orders", "S1 carol", "update customers")

	// The first stamp inside of a savepoint that is rolled back must come again.
	d.exec("BEGIN; SET LOCAL audit.actor_id = 'dan'; SAVEPOINT s", "UPDATE orders SET note = '1' WHERE id = 1", "ROLLBACK TO s",
		"UPDATE orders SET note = '2' WHERE id = 1", "COMMIT")
	want(t, fields(d.log(), "actor_id"), "S1 dan", "update orders")

	// Nothing leaks into the next transaction, and '' is absent.
	d.exec("UPDATE orders SET note = '3' WHERE id = 1", "BEGIN; SET LOCAL audit.reason_code = ''", "UPDATE orders SET note = '4' WHERE id = 1", "COMMIT")
	for _, line := range d.log() {
		if strings.Contains(line, `"c"`) || strings.Contains(line, "dan") {
			t.Errorf("a claim where there is none: %s", line)
		}
	}
	// And nothing is left in the session, which a pooler may hand to somebody else.
	if got := d.value("SELECT current_setting('pgwitness.stamped', true)"); got != "" {
		t.Errorf("after the transaction %q is set", got)
	}
	// A value that a client keeps from another transaction is no excuse.
	d.exec("BEGIN", "UPDATE orders SET note = '5' WHERE id = 1", "SELECT set_config('pgwitness.stamped', current_setting('pgwitness.stamped'), false)", "COMMIT",
		"UPDATE orders SET note = '6' WHERE id = 1", "RESET pgwitness.stamped")
	want(t, fields(d.log()), "S1", "update orders", "S1", "update orders")
}

func stampFacts(t *testing.T, d *database) {
	d.stamped("CREATE ROLE \"clerk \"\"of " + d.name + "\"; GRANT ALL ON customers TO \"clerk \"\"of " + d.name + "\"")
	d.exec("SET application_name = 'till \"7\"'",
		"BEGIN", "UPDATE customers SET name = 'a' WHERE id = 1",
		`SET LOCAL ROLE "clerk ""of `+d.name+`"`, "UPDATE customers SET name = 'b' WHERE id = 1", "COMMIT",
		"RESET application_name")
	lines := d.log()
	want(t, fields(lines, "d", "u", "r", "a", "t", "c", "q"),
		"S1 "+d.name+` postgres <nil> till "7" <nil> <nil> <nil>`, "update customers",
		"S1 "+d.name+` postgres clerk "of `+d.name+` till "7" <nil> <nil> <nil>`, "update customers")
	want(t, fields(lines[:1], "h"), "S1 "+d.value("SELECT host(inet_client_addr())"))
	want(t, fields(lines[:1], "i"), "S1 "+d.value("SELECT pg_backend_pid()::text"))

	claims := strings.Fields("actor_id actor_email actor_role actor_type reason_code reason_note ip_address user_agent source request_id api_key_id mfa_at context")
	for _, name := range claims {
		d.exec("BEGIN; SET LOCAL audit." + name + " = 'the " + name + "'; UPDATE customers SET name = 'c' WHERE id = 1; COMMIT")
		want(t, fields(d.log(), name), "S1 the "+name, "update customers")
	}
	for _, line := range d.log() {
		t.Errorf("unexpected %s", line)
	}
	d.exec("DROP OWNED BY \"clerk \"\"of " + d.name + "\"; DROP ROLE \"clerk \"\"of " + d.name + "\"")
}

func stampComments(t *testing.T, d *database) {
	d.stamped()
	update := "UPDATE orders SET note = 'x' WHERE id = %d /*route='%s'*/"
	d.exec("BEGIN", fmt.Sprintf(update, 1, "a"), fmt.Sprintf(update, 2, "a"), fmt.Sprintf(update, 3, "b"), "UPDATE orders SET note = 'y' WHERE id = 1", "COMMIT")
	want(t, fields(d.log(), "q"), "S1 "+fmt.Sprintf(update, 1, "a"), "update orders", "update orders",
		"S1 "+fmt.Sprintf(update, 3, "b"), "update orders", "S1 <nil>", "update orders")

	long := strings.Repeat("ä", 5000)
	d.exec("UPDATE orders SET note = '"+long+"' WHERE id = 1 /*route='c'*/", "UPDATE orders SET note = '"+long+long+"' WHERE id = 1 /*route='d'*/")
	lines := d.log()
	var whole, cut struct {
		Q  string `json:"q"`
		QC bool   `json:"qc"`
	}
	if err := json.Unmarshal([]byte(lines[0][3:]), &whole); err != nil || whole.QC || len([]rune(whole.Q)) != 5000+len("UPDATE orders SET note = '' WHERE id = 1 /*route='c'*/") {
		t.Errorf("a query of 5,000 characters: %v, cut %t, %d", err, whole.QC, len(whole.Q))
	}
	if err := json.Unmarshal([]byte(lines[2][3:]), &cut); err != nil || !cut.QC || len([]rune(cut.Q)) != 8192 ||
		!strings.HasPrefix(cut.Q, "UPDATE orders") || !strings.HasSuffix(cut.Q, "/*route='d'*/") {
		t.Errorf("a query of 10,000 characters: %v, cut %t, %d", err, cut.QC, len(cut.Q))
	}
}

func stampDepth(t *testing.T, d *database) {
	d.stamped(`CREATE TABLE log (id int PRIMARY KEY, line text);
		CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO log VALUES (NEW.id, NEW.note); RETURN NULL; END $$;
		CREATE TRIGGER write_log AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION write_log()`)
	d.exec("BEGIN", "UPDATE orders SET note = 'x' WHERE id < 4", "UPDATE customers SET name = 'x' WHERE id = 1", "DELETE FROM customers WHERE id < 3", "COMMIT")
	want(t, fields(d.log(), "t"), "S1 <nil>", "update orders", "update orders", "update orders", "S1 1", "insert log", "insert log", "insert log",
		"S1 <nil>", "update customers", "delete customers", "delete customers", "S1 1", "delete orders", "delete orders")
}

func stampEveryWay(t *testing.T, d *database) {
	d.stamped(`CREATE TABLE stock (day date, sku int, PRIMARY KEY (day, sku)) PARTITION BY RANGE (day);
		CREATE TABLE stock_2026 PARTITION OF stock FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`)
	ways := []struct {
		name string
		sql  []string
		want []string
	}{
		{"partition by its parent", []string{"INSERT INTO stock VALUES ('2026-01-02', 1)"}, []string{"S1", "insert stock_2026"}},
		{"partition by name", []string{"INSERT INTO stock_2026 VALUES ('2026-01-02', 2)"}, []string{"S1", "insert stock_2026"}},
		{"upsert", []string{"INSERT INTO customers VALUES (1, 'u') ON CONFLICT (id) DO UPDATE SET name = 'u'"}, []string{"S1", "update customers"}},
		{"with", []string{"WITH gone AS (DELETE FROM orders WHERE id = 9 RETURNING id) UPDATE customers SET name = 'w' FROM gone WHERE customers.id = gone.id"},
			[]string{"S1", "delete orders", "update customers"}},
		{"replica role", []string{"BEGIN; SET LOCAL session_replication_role = replica", "UPDATE orders SET note = 'r' WHERE id = 1", "COMMIT"}, []string{"S1", "update orders"}},
		{"truncate cascade", []string{"TRUNCATE customers CASCADE"}, []string{"S1", "truncate"}},
		{"no row", []string{"UPDATE orders SET note = '' WHERE false"}, []string{"S1"}},
		{"other columns only", []string{"INSERT INTO customers (id) VALUES (1)"}, []string{"S1", "insert customers"}},
	}
	for _, w := range ways {
		d.exec(w.sql...)
		if diff := cmp.Diff(w.want, fields(d.log())); diff != "" {
			t.Errorf("%s: the log differs (-want +got):\n%s", w.name, diff)
		}
	}
	if _, err := d.conn.CopyFrom(context.Background(), pgx.Identifier{"customers"}, []string{"id", "name"},
		pgx.CopyFromRows([][]any{{20, "a"}, {21, "b"}})); err != nil {
		t.Fatal(err)
	}
	want(t, fields(d.log()), "S1", "insert customers", "insert customers")

	d.exec("BEGIN; SET LOCAL audit.actor_id = 'p'", "INSERT INTO customers VALUES (30, 'p')", "PREPARE TRANSACTION 'p_"+d.name+"'")
	want(t, fields(d.log()))
	d.exec("COMMIT PREPARED 'p_" + d.name + "'")
	want(t, fields(d.log(), "actor_id"), "S1 p", "insert customers")

	// Foreign keys that are checked, and rows that are written, at the commit.
	d.exec("ALTER TABLE orders ALTER CONSTRAINT orders_customer_fkey DEFERRABLE INITIALLY DEFERRED",
		"BEGIN", "INSERT INTO orders VALUES (50, 50, '')", "INSERT INTO customers VALUES (50, '')", "COMMIT")
	want(t, fields(d.log()), "S1", "insert orders", "insert customers")
}

// stampSize: case 38. The goal is 200 bytes of write-ahead log for a stamp in the
// common case, and none for the statements and rows that follow.
func stampSize(t *testing.T, d *database) {
	const columns = " (id int PRIMARY KEY, sku text, customer text, address text, note text, qty int, price numeric(12,2), placed timestamptz)"
	d.stamped("CREATE TABLE plain"+columns, "CREATE TABLE audited"+columns)
	for _, table := range []string{"plain", "audited"} {
		d.exec("INSERT INTO " + table + ` SELECT i, 'SKU-' || i, repeat('c', 60), repeat('a', 90), repeat('n', 110), i, i, now() FROM generate_series(1, 2000) i`)
	}
	d.exec("ALTER TABLE plain DISABLE TRIGGER pgwitness_stamp; ALTER TABLE plain DISABLE TRIGGER pgwitness_stamp_truncate",
		"SET application_name = 'rails: puma 3'", "CHECKPOINT")
	one, all := "UPDATE $ SET qty = qty + 1 WHERE id = 7", "UPDATE $ SET qty = qty + 1"
	claims := "SET LOCAL audit.actor_id = 'alice@example.com'; SET LOCAL audit.reason_code = 'customer_request'"
	for _, c := range []struct {
		name        string
		statements  []string
		least, most int
	}{
		{"a stamp", []string{one}, 100, 200},
		{"a stamp with two claims", []string{claims, one}, 120, 250},
		{"a stamp for eleven statements", slices.Repeat([]string{one}, 11), 100, 264},
		{"a stamp for 2000 rows", []string{all}, -2000, 2000}, // less than a byte a row; the pages of two tables do not fill alike
	} {
		cost := d.logged("audited", c.statements) - d.logged("plain", c.statements)
		if cost < c.least || cost > c.most {
			t.Errorf("%s costs %d bytes of write-ahead log", c.name, cost)
		}
		t.Logf("%s costs %d bytes", c.name, cost)
	}
}

// logged is how much log statements over table write, in one transaction. A
// background process may write in between: the least of some runs counts.
func (d *database) logged(table string, statements []string) (least int) {
	d.t.Helper()
	for i := range 6 {
		before := d.value("SELECT pg_current_wal_insert_lsn()::text")
		d.exec("BEGIN")
		for _, s := range statements {
			d.exec(strings.ReplaceAll(s, "$", table))
		}
		d.exec("COMMIT")
		bytes, err := strconv.Atoi(d.value("SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::bigint::text", before))
		if err != nil {
			d.t.Fatal(err)
		}
		if i == 1 || i > 1 && bytes < least { // the first has whole pages in the log
			least = bytes
		}
	}
	return least
}

// stampInBackground: a subscription copies rows into an audited table; no
// client and no query are there to be named.
func stampInBackground(t *testing.T, d *database) {
	far := newDatabase(t, d.server, d.major, d.name+"_far")
	far.exec("CREATE TABLE feed (id int PRIMARY KEY); INSERT INTO feed VALUES (1), (2)", "CREATE PUBLICATION feed FOR TABLE feed",
		"SELECT pg_create_logical_replication_slot('"+d.name+"_feed', 'pgoutput')")
	d.stamped("CREATE TABLE feed (id int PRIMARY KEY)")
	d.exec("CREATE SUBSCRIPTION " + d.name + "_feed CONNECTION " + literal(far.dsn) + " PUBLICATION feed WITH (create_slot = false)")
	var lines []string
	for deadline := time.Now().Add(time.Minute); len(lines) == 0; lines = d.log() { // two background workers start and copy
		if time.Now().After(deadline) {
			t.Fatal("the subscription copied nothing")
		}
	}
	want(t, fields(lines, "d", "u", "h", "q", "qc"), "S1 "+d.name+" postgres <nil> <nil> <nil>", "insert feed", "insert feed")
	d.exec("DROP SUBSCRIPTION " + d.name + "_feed")
}
