package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/verify"
)

// personalConfig has personal values in every place there is: columns of a
// person's own row, columns that another table names the person of, a key, and
// the fields of the actor.
const personalConfig = `batch: {window: 100ms}
spool: {max_retained_wal: 8388608, max_bytes: 1073741824, segment_bytes: 1048576}
streams:
  - name: shop
    baseline: {enabled: true}
    personal: {fields: [actor_email, ip_address, user_agent], subject: "user:{actor_id}"}
    postgres: {dsn: "${SHOP_DSN}", status_interval: 500ms}
    tables:
      - name: public.customers
        resource: customer
        subject: "customer:{id}"
        secret: [password]
        personal: {email: {class: email}, phone: {class: phone}, password: {class: other}, born: {class: birthday}}
      - name: public.orders
        resource: order
        personal: {ship_to: {class: address, subject: "customer:{customer_id}"}, contact: {class: email, subject: "customer:{customer_id}"}}
      - name: public.subscribers
        subject: "subscriber:{email}"
        personal: {email: {class: email}}
    actions:
      - {name: moved to example.org, table: customers, operation: update, when: 'new.email == "ZZ-bob@example.org" && old.email == "ZZ-bob@example.com"', action: approve}
      - {name: broken, table: customers, operation: delete, when: 'old.email + 1 == 2', action: reject}
`

const personalTables = `
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, password text, born int, note text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, ship_to text, contact text, total numeric NOT NULL);
CREATE TABLE subscribers (email text PRIMARY KEY, weekly boolean NOT NULL);
INSERT INTO customers VALUES (1, 'ZZ-alice@example.com', 'ZZ 1', 'ZZ-pw', 1999001, NULL), (2, 'ZZ-bob@example.com', NULL, NULL, NULL, 'x')`

// personalWork begins every personal value with ZZ, or it is a 199900.
const personalWork = `UPDATE customers SET email = 'ZZ-bob@example.org' WHERE id = 2
UPDATE customers SET phone = '' WHERE id = 2
UPDATE customers SET phone = NULL, note = 'pii:0000000000000000000000000000000000000000000000000000000000000000' WHERE id = 1
UPDATE customers SET phone = 'ZZ "1"', born = 1999002 WHERE id = 1
INSERT INTO orders VALUES (1, 1, 'ZZ Road', 'ZZ-alice@example.com', 10.50), (2, NULL, 'ZZ Street', NULL, 1), (3, 2, NULL, 'ZZ-bob@example.com', 2)
UPDATE orders SET customer_id = 2 WHERE id = 1
INSERT INTO subscribers VALUES ('ZZ-carol@example.com', true)
UPDATE subscribers SET weekly = false
UPDATE subscribers SET email = 'ZZ-carola@example.com'
INSERT INTO customers VALUES (3, 'ZZ-dan@example.com', 'ZZ 3', 'ZZ', 1, '')
DELETE FROM customers WHERE id = 3
SELECT set_config('audit.actor_id', 'u-1', true), set_config('audit.actor_email', 'ZZ-clerk@example.com', true), set_config('audit.ip_address', '192.0.2.77', true), set_config('audit.user_agent', 'ZZ-browser', true); UPDATE orders SET total = 11 WHERE id = 2
SELECT set_config('audit.context', '{"actor_email": "ZZ-cut', true); UPDATE orders SET total = 12 WHERE id = 2
SELECT pgwitness.event(action => 'login_failed', actor_id => 'u-1', ip_address => '192.0.2.77', user_agent => 'ZZ-browser')
`

// nothingClear looks for the clear values in every column of every entry.
func (s *sidecar) nothingClear() {
	s.t.Helper()
	if found := s.ask(`SELECT arrayStringConcat(groupArray(text), '\n') FROM (SELECT toJSONString(tuple(*)) AS text FROM audit_logs)
		WHERE match(text, 'ZZ[- ]') OR match(text, 'born\\W+1999') OR text LIKE '%192.0.2.77%' OR text LIKE '%127.0.0.1%'`); found != "" {
		s.t.Errorf("entries hold clear values:\n%s", found)
	}
}

// ask is the only value of a query to the database of the trail.
func (s *sidecar) ask(query string) (text string) {
	s.t.Helper()
	conn := s.ch.Connect("reader")
	if err := conn.QueryRow(context.Background(), query).Scan(&text); err != nil {
		s.t.Fatalf("query %s: %v", query, err)
	}
	return text
}

// vaultHolds checks that every subject has one key, that every token of the
// trail opens, and that key and value give the token.
func (s *sidecar) vaultHolds(tokens int) {
	s.t.Helper()
	if n := s.ask("SELECT toString(count()) FROM (SELECT subject FROM subjects GROUP BY subject HAVING uniqExact(subject_key) > 1)"); n != "0" {
		s.t.Errorf("%s subjects have several keys", n)
	}
	rows, err := s.ch.Connect("reader").Query(context.Background(), `SELECT t, o.class, o.value, k.subject_key
		FROM (SELECT DISTINCT toFixedString(unhex(arrayJoin(extractAll(toJSONString(tuple(*)), 'pii:([0-9a-f]{64})'))), 32) AS t FROM audit_logs) AS a
		LEFT JOIN (SELECT DISTINCT token, class, value, subject FROM openings) AS o ON o.token = a.t
		LEFT JOIN (SELECT DISTINCT subject, subject_key FROM subjects) AS k ON k.subject = o.subject`)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var token, class, value, key string
		if err := rows.Scan(&token, &class, &value, &key); err != nil {
			s.t.Fatal(err)
		}
		if token == strings.Repeat("\x00", 32) {
			continue // somebody wrote it into a note
		}
		subjectKey := audit.SubjectKey([]byte(key))
		if got := new(audit.Tokenizer).Token(&subjectKey, class, []byte(value)); string(got[:]) != token {
			s.t.Errorf("token %x is said to be %s %q, whose token is %s", token, class, value, got)
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	if n < tokens {
		s.t.Errorf("%d tokens in the trail, want at least %d", n, tokens)
	}
}

// Personal values are in no column of the trail, whatever way they take; every
// token opens; and neither a kill -9 nor a standby nor ClickHouse away gives a
// person a second key.
func TestPersonalValuesBecomeTokens(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouseServer(t)
	pg.Exec(personalTables)
	s := newSidecar(t, pg, ch, personalConfig)
	s.refusesWrongColumns(t)
	s.start()
	s.sync(time.Minute)
	work(pg, personalWork)
	s.sync(time.Minute)
	s.vaultHolds(20)
	s.nothingClear()
	s.tokensTell(t)
	s.readsOpened(t)
	s.sameTokensAfterKill(t)
	s.keysWithoutClickHouse(t)
	s.holdsAgainstTables(t)
	s.stop()
	s.openingsVerdict(t)
}

// holdsAgainstTables is verify with all it has: the fold of opened entries is the
// table, and every token opens.
func (s *sidecar) holdsAgainstTables(t *testing.T) {
	defer s.under(t)()
	r := s.finds(pgwitness.VerifyQuery{Continuity: true, Reconcile: true})
	if v := r.Verdict(verify.Openings); v.Status != verify.Holds || !strings.HasSuffix(v.Reason, " tokens of personal values") {
		t.Errorf("openings: %+v", v)
	}
	// Of a person whose openings are gone, the values are unknown, and no difference.
	s.ch.Exec("CREATE TABLE " + s.ch.Database + ".kept ENGINE = Memory AS SELECT * FROM " + s.ch.Database + ".openings")
	s.ch.Exec("DELETE FROM " + s.ch.Database + ".openings WHERE subject = 'customer:2' OR subject LIKE 'subscriber:%'")
	s.finds(pgwitness.VerifyQuery{Continuity: true, Reconcile: true})
	s.ch.Exec("INSERT INTO " + s.ch.Database + ".openings SELECT * FROM " + s.ch.Database + ".kept WHERE subject = 'customer:2' OR subject LIKE 'subscriber:%'")
}

// openings is the verdict on tokens.
func (s *sidecar) openings() verify.Verdict {
	s.t.Helper()
	r := s.checked(pgwitness.VerifyQuery{})
	return r.Verdict(verify.Openings)
}

// openingsVerdict lays hands on the vault: each is found, by sequence and column.
func (s *sidecar) openingsVerdict(t *testing.T) {
	defer s.under(t)()
	first := s.ask("SELECT toString(sequence) FROM audit_logs WHERE operation = 'baseline' AND table_name = 'customers' AND resource_id = '1'")
	in := func(table string) string { return s.ch.Database + "." + table }
	for _, c := range []struct {
		name, hand, back string
		kind             verify.Kind
		column           string
	}{
		{"changed-opening", "ALTER TABLE " + in("openings") + " UPDATE value = 'somebody else' WHERE subject = 'customer:1' AND class = 'email' SETTINGS mutations_sync = 1",
			"ALTER TABLE " + in("openings") + " UPDATE value = 'ZZ-alice@example.com' WHERE subject = 'customer:1' AND class = 'email' SETTINGS mutations_sync = 1", verify.OpeningMismatch, "new_values.email"},
		{"missing-opening", "DELETE FROM " + in("openings") + " WHERE value = 'ZZ-alice@example.com'",
			"INSERT INTO " + in("openings") + " SELECT DISTINCT * FROM " + in("kept") + " WHERE value = 'ZZ-alice@example.com'", verify.OpeningMissing, "new_values.email"},
		{"changed-key", "ALTER TABLE " + in("subjects") + " UPDATE subject_key = reverse(subject_key) WHERE subject = 'customer:1' SETTINGS mutations_sync = 1",
			"ALTER TABLE " + in("subjects") + " UPDATE subject_key = reverse(subject_key) WHERE subject = 'customer:1' SETTINGS mutations_sync = 1", verify.OpeningMismatch, "new_values.email"},
		{"missing-key", "DELETE FROM " + in("subjects") + " WHERE subject = 'user:u-1'", "", verify.OpeningMissing, "actor_email"},
		{"emptied-vault", "TRUNCATE TABLE " + in("openings"), "", verify.OpeningMissing, "new_values.email"},
	} {
		s.ch.Exec(c.hand)
		v := s.openings()
		i := slices.IndexFunc(v.Findings, func(f verify.Finding) bool { return f.Kind == c.kind && slices.Equal(f.Columns, []string{c.column}) })
		if v.Status != verify.Fails || i < 0 || c.column == "new_values.email" && fmt.Sprint(v.Findings[i].Sequence) != first {
			t.Errorf("%s: want %s in %s of sequence %s, got %s: %+v", c.name, c.kind, c.column, first, v.Status, v.Findings)
		}
		if c.back != "" {
			s.ch.Exec(c.back)
			if v := s.openings(); v.Status != verify.Holds {
				t.Errorf("%s, taken back: %s: %+v", c.name, v.Status, v.Findings)
			}
		}
	}
}

// readsOpened reads with and without the right to see clear values.
func (s *sidecar) readsOpened(t *testing.T) {
	defer s.under(t)()
	for _, c := range []struct {
		verb  []string
		clear string
	}{
		{[]string{"state", "customer", "1", "--at", "now"}, "ZZ-alice@example.com"},
		{[]string{"trail", "order", "2", "--json"}, "ZZ-clerk@example.com"},
	} {
		if text := s.must(c.verb...); strings.Contains(text, "ZZ") || !strings.Contains(text, "pii:") {
			t.Errorf("%v shows\n%s", c.verb, text)
		}
		if text := s.must(append(c.verb, "--open")...); !strings.Contains(text, c.clear) || strings.Contains(strings.ReplaceAll(text, "pii:0000", ""), "pii:") {
			t.Errorf("%v --open shows\n%s", c.verb, text)
		}
	}
	opened := s.one("SELECT concat(JSONExtractString(assumeNotNull(new_values), 'email'), JSONExtractString(assumeNotNull(new_values), 'phone')) AS x FROM audit_trail WHERE operation = 'baseline' AND table_name = 'customers' AND resource_id = '1'")
	if opened != "ZZ-alice@example.comZZ 1" {
		t.Errorf("audit_trail opens %s", opened)
	}
}

// refusesWrongColumns names columns that do not exist: check complains, and setup
// does nothing.
func (s *sidecar) refusesWrongColumns(t *testing.T) {
	defer s.under(t)()
	right, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	two := s.second()
	two.file = filepath.Join(filepath.Dir(s.file), "wrong.yaml")
	for wrong, column := range map[string]string{"{emial: {class: email}": "emial", `subject: "customer:{number}"`: "number"} {
		from := map[bool]string{true: "{email: {class: email}", false: `subject: "customer:{id}"`}[column == "emial"]
		if err := os.WriteFile(two.file, []byte(strings.Replace(string(right), from, wrong, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"check", "setup"} {
			out, code := two.run(verb)
			if code == 0 || !strings.Contains(out, "has no column "+column) || !strings.Contains(out, "under personal") {
				t.Errorf("%s with the column %s: exit code %d\n%s", verb, column, code, out)
			}
		}
	}
}

// one is the only value of a query, of which there must be one row.
func (s *sidecar) one(query string) string {
	s.t.Helper()
	return s.ask("SELECT if(count() = 1, any(x), concat(toString(count()), ' rows')) FROM (" + query + ")")
}

func (s *sidecar) tokensTell(t *testing.T) {
	defer s.under(t)()
	const token = "pii:[0-9a-f]{64}"
	for what, c := range map[string]struct{ want, query string }{
		"a changed value has another token": {"2", `SELECT toString(uniqExact(x)) AS x FROM (SELECT arrayJoin([JSONExtractString(assumeNotNull(old_values), 'email'), JSONExtractString(assumeNotNull(new_values), 'email')]) AS x
			FROM audit_logs WHERE action = 'approve' AND match(x, '^` + token + `$'))`},
		"the same value of the same person has one token in every table": {"1", `SELECT toString(uniqExact(x)) AS x FROM (
			SELECT JSONExtractString(assumeNotNull(new_values), 'email') AS x FROM audit_logs WHERE table_name = 'customers' AND operation = 'baseline' AND resource_id = '1'
			UNION ALL SELECT JSONExtractString(assumeNotNull(new_values), 'contact') AS x FROM audit_logs WHERE table_name = 'orders' AND operation = 'insert' AND resource_id = '1')`},
		"NULL stays NULL":                                       {"null", "SELECT JSONExtractRaw(assumeNotNull(new_values), 'phone') AS x FROM audit_logs WHERE resource_id = '1' AND table_name = 'customers' AND changed = ['note', 'phone']"},
		"an empty string is a value":                            {"1", "SELECT toString(match(JSONExtractString(assumeNotNull(new_values), 'phone'), '^" + token + "$')) AS x FROM audit_logs WHERE resource_id = '2' AND table_name = 'customers' AND changed = ['phone']"},
		"changed names the columns":                             {"['born','phone']", "SELECT toString(changed) AS x FROM audit_logs WHERE new_values LIKE '%born%' AND operation = 'update'"},
		"secret wins over personal":                             {`["secret"]`, "SELECT JSONExtractRaw(assumeNotNull(new_values), 'password') AS x FROM audit_logs WHERE operation = 'baseline' AND table_name = 'customers' AND resource_id = '1'"},
		"a number's token is a string":                          {"String", "SELECT toString(JSONType(assumeNotNull(new_values), 'born')) AS x FROM audit_logs WHERE operation = 'baseline' AND table_name = 'customers' AND resource_id = '1'"},
		"what looks like a token is none, and stays what it is": {"pii:" + strings.Repeat("0", 64), `SELECT JSONExtractString(assumeNotNull(new_values), 'note') AS x FROM audit_logs WHERE changed = ['note', 'phone'] AND position(new_values, '"pii:') = 0`},
		"a personal key is a token in resource_id as well":      {"1", "SELECT toString(countIf(resource_id = JSONExtractString(assumeNotNull(new_values), 'email') AND match(assumeNotNull(resource_id), '^" + token + "$'))) AS x FROM audit_logs WHERE table_name = 'subscribers' AND operation = 'insert'"},
		"attribution says which fields are tokens":              {`["actor_email","ip_address","user_agent"]`, "SELECT JSONExtractRaw(assumeNotNull(attribution), 'personal') AS x FROM audit_logs WHERE table_name = 'orders' AND actor_id = 'u-1'"},
		"an event's address has the token of the statement's":   {"1", "SELECT toString(uniqExact(ip_address)) AS x FROM audit_logs WHERE actor_id = 'u-1'"},
		"the error of a rule quotes nothing":                    {"broken: failed on values of which some are personal", "SELECT JSONExtractString(assumeNotNull(attribution), 'rule_error') AS x FROM audit_logs WHERE table_name = 'customers' AND operation = 'delete'"},
		"the order of a guest is its own subject":               {"order:2", "SELECT DISTINCT subject AS x FROM openings WHERE value = 'ZZ Street'"},
	} {
		if got := s.one(c.query); got != c.want {
			t.Errorf("%s: got %s, want %s", what, got, c.want)
		}
	}
}

// sameTokensAfterKill ends the sidecar when the key of a new person is stored and
// the entry cannot be: the next one seals the entry with that key, and what was
// delivered again has the same bytes.
func (s *sidecar) sameTokensAfterKill(t *testing.T) {
	defer s.under(t)()
	s.ch.Exec("RENAME TABLE " + s.ch.Database + ".audit_logs TO " + s.ch.Database + ".hidden")
	s.pg.Exec("INSERT INTO customers VALUES (10, 'ZZ-erin@example.com', NULL, NULL, NULL, NULL)")
	key := func() string {
		return s.ask("SELECT toString(groupUniqArray(hex(subject_key))) FROM subjects WHERE subject = 'customer:10'")
	}
	s.until("the key is stored", time.Minute, func() bool { return key() != "[]" })
	s.kill()
	before := key()
	s.ch.Exec("RENAME TABLE " + s.ch.Database + ".hidden TO " + s.ch.Database + ".audit_logs")
	two := s.second()
	two.start()
	two.sync(time.Minute)
	if after := key(); after != before {
		t.Errorf("the key of the person was %s, and is %s", before, after)
	}
	s.pg.Exec("UPDATE customers SET note = 'seen again' WHERE id = 10; UPDATE orders SET customer_id = 10, contact = 'ZZ-erin@example.com' WHERE id = 2")
	two.sync(time.Minute)
	if n := s.one("SELECT toString(uniqExact(t)) AS x FROM (SELECT arrayJoin([JSONExtractString(assumeNotNull(new_values), 'email'), JSONExtractString(assumeNotNull(new_values), 'contact')]) AS t FROM audit_logs WHERE t != '' AND (resource_id = '10' OR table_name = 'orders' AND has(changed, 'contact')))"); n != "1" {
		t.Errorf("the address of one person has %s tokens", n)
	}
	// The standby takes over, and finds the keys.
	s.start()
	s.says(isStandby, 10*time.Second)
	two.kill()
	s.says(takeover, 20*time.Second)
	s.pg.Exec("UPDATE customers SET email = 'ZZ-erin@example.org' WHERE id = 10; INSERT INTO customers VALUES (11, 'ZZ-fay@example.com', NULL, NULL, NULL, NULL)")
	s.sync(time.Minute)
	s.vaultHolds(25)
}

// keysWithoutClickHouse spools entries of known and new people while ClickHouse
// is away, and kills the sidecar meanwhile: what is drained has one key each.
func (s *sidecar) keysWithoutClickHouse(t *testing.T) {
	defer s.under(t)()
	s.ch.Kill()
	next := 100
	s.until("something is spooled", time.Minute, func() bool {
		s.pg.Exec(fmt.Sprintf("INSERT INTO customers SELECT i, 'ZZ-' || i || '@example.com', NULL, NULL, NULL, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000)) FROM generate_series(%d, %d) i", next, next+2))
		next += 3
		return s.spoolState().Entries > 0
	})
	s.pg.Exec("UPDATE customers SET phone = 'ZZ 100' WHERE id = 100; INSERT INTO customers VALUES (5000, 'ZZ-last@example.com', NULL, NULL, NULL, NULL)")
	entries := s.spoolState().Entries
	s.until("more is spooled", time.Minute, func() bool { return s.spoolState().Entries > entries })
	s.kill()
	s.start() // its memory is empty, and ClickHouse away: it can wait, but must not make keys
	s.pg.Exec("UPDATE customers SET phone = 'ZZ 101' WHERE id IN (1, 101); INSERT INTO customers VALUES (5001, 'ZZ-new@example.com', NULL, NULL, NULL, NULL)")
	s.says("going on with the spool", 20*time.Second)
	s.ch.Start()
	s.untilDrained(2 * time.Minute)
	s.sync(time.Minute)
	s.vaultHolds(50)
	s.nothingClear()
}
