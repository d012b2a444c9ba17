package enrich

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

var testKey = [32]byte{1, 2, 3}

// message makes the content of a logical message as the trigger would.
func message(key [32]byte, kind, payload string) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(kind + payload))
	return append(append([]byte(kind), mac.Sum(nil)[:macSize]...), payload...)
}

func logical(content []byte) audit.Change {
	return audit.Change{Op: audit.Logical, Message: &audit.Message{Prefix: Prefix, Content: content, Transactional: true}}
}

func stamp(payload string) audit.Change { return logical(message(testKey, kindStamp, payload)) }

func orders(identity byte) *audit.Relation {
	return &audit.Relation{
		ID: 1, Schema: "public", Name: "orders", Identity: identity,
		Columns: []audit.Column{
			{Name: "id", TypeOID: int4OID, InIdentity: true},
			{Name: "status", TypeOID: 25, InIdentity: identity == 'f'},
			{Name: "total", TypeOID: 1700, InIdentity: identity == 'f'},
			{Name: "paid", TypeOID: boolOID, InIdentity: identity == 'f'},
		},
		Key: []int{0},
	}
}

// row makes a tuple of literals; "NULL" is SQL NULL, "TOAST" an unchanged value.
func row(values ...string) audit.Tuple {
	var t audit.Tuple
	for _, v := range values {
		switch v {
		case "NULL":
			t = append(t, audit.Value{Kind: audit.Null})
		case "TOAST":
			t = append(t, audit.Value{Kind: audit.Unchanged})
		default:
			t = append(t, audit.Value{Kind: audit.Literal, Data: []byte(v)})
		}
	}
	return t
}

func enrichOne(t *testing.T, cfg Config, changes ...audit.Change) []audit.Entry {
	t.Helper()
	e, err := New("test", cfg, testKey)
	if err != nil {
		t.Fatal(err)
	}
	tx := audit.Tx{XID: 7, CommitLSN: 100, EndLSN: 120, CommitTime: 1_700_000_000_000_000, First: true, Last: true, Changes: changes}
	return e.Append(nil, &tx, 0)
}

func insertOrder(r *audit.Relation) audit.Change {
	return audit.Change{Op: audit.Insert, Relation: r, New: row("1", "new", "10.00", "f")}
}

func TestValuesAreExactAndMinimal(t *testing.T) {
	full, def, keyless := orders('f'), orders('d'), orders('f')
	keyless.ID, keyless.Key = 2, nil
	for _, c := range []struct {
		name     string
		change   audit.Change
		old, new string
		changed  []string
		note     string
	}{
		{"insert keeps the whole row", insertOrder(full),
			"", `{"id":1,"status":"new","total":"10.00","paid":false}`, nil, ""},
		{"update keeps what changed and the key",
			audit.Change{Op: audit.Update, Relation: full, OldWhole: true, Old: row("1", "new", "10.00", "f"), New: row("1", "paid", "10.00", "t")},
			`{"id":1,"status":"new","paid":false}`, `{"id":1,"status":"paid","paid":true}`, []string{"paid", "status"}, ""},
		{"without a key an update keeps both whole rows",
			audit.Change{Op: audit.Update, Relation: keyless, OldWhole: true, Old: row("1", "new", "10.00", "f"), New: row("1", "paid", "10.00", "f")},
			`{"id":1,"status":"new","total":"10.00","paid":false}`, `{"id":1,"status":"paid","total":"10.00","paid":false}`, []string{"status"}, ""},
		{"NULL is not the empty string",
			audit.Change{Op: audit.Update, Relation: full, OldWhole: true, Old: row("1", "", "1", "f"), New: row("1", "NULL", "1", "f")},
			`{"id":1,"status":""}`, `{"id":1,"status":null}`, []string{"status"}, ""},
		{"1.0 is not 1.00",
			audit.Change{Op: audit.Update, Relation: full, OldWhole: true, Old: row("1", "a", "1.0", "f"), New: row("1", "a", "1.00", "f")},
			`{"id":1,"total":"1.0"}`, `{"id":1,"total":"1.00"}`, []string{"total"}, ""},
		{"an update that changes nothing keeps the key",
			audit.Change{Op: audit.Update, Relation: full, OldWhole: true, Old: row("1", "a", "1", "f"), New: row("1", "a", "1", "f")},
			`{"id":1}`, `{"id":1}`, nil, ""},
		{"unchanged TOAST is unchanged",
			audit.Change{Op: audit.Update, Relation: full, OldWhole: true, Old: row("1", "long", "1", "f"), New: row("1", "TOAST", "2", "f")},
			`{"id":1,"total":"1"}`, `{"id":1,"total":"2"}`, []string{"total"}, ""},
		{"without the old row, unknown values are named",
			audit.Change{Op: audit.Update, Relation: def, New: row("1", "TOAST", "2", "f")},
			"", `{"id":1,"total":"2","paid":false}`, nil,
			`"old_values":"unknown: replica identity default","unknown_values":["status"]`},
		{"delete by key says what it does not know",
			audit.Change{Op: audit.Delete, Relation: def, Old: row("1", "NULL", "NULL", "NULL")},
			`{"id":1}`, "", nil, `"old_values":"unknown: replica identity default"`},
		{"delete of a whole row",
			audit.Change{Op: audit.Delete, Relation: full, OldWhole: true, Old: row("1", "a", "1", "t")},
			`{"id":1,"status":"a","total":"1","paid":true}`, "", nil, ""},
		{"truncate says how",
			audit.Change{Op: audit.Truncate, Relation: full, Cascade: true, RestartIdentity: true},
			"", "", nil, `"truncate":"cascade, restart identity"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := enrichOne(t, Config{}, c.change)[0]
			if n.OldValues.String() != c.old || n.NewValues.String() != c.new {
				t.Errorf("old %s\nnew %s\nwant %s\n     %s", n.OldValues, n.NewValues, c.old, c.new)
			}
			if d := cmp.Diff(c.changed, n.Changed); d != "" {
				t.Errorf("changed: %s", d)
			}
			if !strings.Contains(n.Attribution.String(), c.note) {
				t.Errorf("attribution %s lacks %s", n.Attribution, c.note)
			}
			if !json.Valid(n.Attribution) {
				t.Errorf("attribution is not JSON: %s", n.Attribution)
			}
		})
	}
}

// attributed runs one insert behind a stamp and returns its entry.
func attributed(t *testing.T, cfg Config, payload string) audit.Entry {
	t.Helper()
	return enrichOne(t, cfg, stamp(payload), insertOrder(orders('f')))[0]
}

func TestWhoWhereWhy(t *testing.T) {
	rules := Config{Actors: []ActorRule{
		{Name: "shopify", Match: ActorMatch{DBUser: "shopify", Network: "10.0.0.0/8"}, Actor: Actor{ID: "api:shopify-connector", Type: "api", Role: "integration", Source: "shopify"}},
		{Name: "psql", Match: ActorMatch{DBUser: "dba_*", ApplicationName: "psql*"}, Actor: Actor{Source: "psql"}},
	}}
	type want map[string]string
	for _, c := range []struct {
		name, payload string
		want          want
	}{
		{"session variables win over rules",
			`{"x":7,"u":"shopify","h":"10.1.2.3","c":{"actor_id":"42","actor_role":"finance","reason_code":"damaged","ip_address":"203.0.113.7"}}`,
			want{"actor_id": "42", "actor_type": "human", "actor_role": "finance", "reason": "damaged", "ip": "203.0.113.7", "source": "shopify",
				"from actor_id": "session", "from actor_type": "inferred", "from source": "rule:shopify"}},
		{"a rule names a machine", `{"x":7,"u":"shopify","h":"10.1.2.3"}`,
			want{"actor_id": "api:shopify-connector", "actor_type": "api", "actor_role": "integration", "ip": "10.1.2.3", "from ip_address": "observed", "from actor_id": "rule:shopify"}},
		{"a rule of another network does not hold", `{"x":7,"u":"shopify","h":"192.0.2.1"}`,
			want{"actor_id": "db:shopify", "actor_type": "unknown", "from actor_id": "observed"}},
		{"a rule without an actor leaves the observed one", `{"x":7,"u":"dba_bob","a":"psql 18"}`,
			want{"actor_id": "db:dba_bob", "source": "psql", "app": "psql 18"}},
		{"comments say where", `{"x":7,"u":"web","q":"/*framework='rails'*/ update t /* application='storefront',route='%2Fcheckout',traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' */"}`,
			want{"source": "storefront", "trace": "0af7651916cd43dd8448eb211c80319c", "from source": "comment", "comment route": "/checkout", "comment framework": "rails"}},
		{"JSON context stands behind single variables", `{"x":7,"u":"web","c":{"actor_id":"a","context":"{\"actor_id\":\"b\",\"request_id\":\"r1\"}"}}`,
			want{"actor_id": "a", "request": "r1"}},
		{"addresses are normalised", `{"x":7,"u":"web","c":{"ip_address":"::ffff:192.0.2.7, 10.0.0.1"}}`, want{"ip": "192.0.2.7"}},
		{"service accounts are told by their names", `{"x":7,"u":"web","c":{"actor_id":"cron:nightly"}}`, want{"actor_type": "cron"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := attributed(t, rules, c.payload)
			got := map[string]any{}
			var attr map[string]any
			if err := json.Unmarshal(n.Attribution, &attr); err != nil {
				t.Fatal(err)
			}
			for k, v := range map[string]audit.Text{"actor_id": n.ActorID, "actor_type": n.ActorType, "actor_role": n.ActorRole,
				"reason": n.ReasonCode, "ip": n.IPAddress, "source": n.Source, "app": n.ApplicationName, "trace": n.TraceID, "request": n.RequestID} {
				got[k] = v.String()
			}
			for k, v := range attr {
				got["from "+k] = v
			}
			if m, ok := attr["comment"].(map[string]any); ok {
				for k, v := range m {
					got["comment "+k] = v
				}
			}
			for k, v := range c.want {
				if got[k] != v {
					t.Errorf("%s = %v, want %s (attribution %s)", k, got[k], v, n.Attribution)
				}
			}
		})
	}
}

// A stamp governs what follows it; nothing leaks into the next transaction.
func TestStampGovernsWhatFollows(t *testing.T) {
	r := orders('f')
	e, err := New("test", Config{}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	first := audit.Tx{XID: 7, CommitLSN: 100, First: true, Changes: []audit.Change{
		insertOrder(r), stamp(`{"x":7,"u":"a","c":{"actor_id":"alice"}}`), insertOrder(r),
	}}
	second := audit.Tx{XID: 7, CommitLSN: 100, EndLSN: 120, Last: true, Changes: []audit.Change{
		insertOrder(r), stamp(`{"x":7,"u":"a","c":{"actor_id":"bob"}}`), insertOrder(r),
	}}
	next := audit.Tx{XID: 8, CommitLSN: 200, EndLSN: 220, First: true, Last: true, Changes: []audit.Change{insertOrder(r)}}
	var es []audit.Entry
	for _, tx := range []*audit.Tx{&first, &second, &next} {
		es = e.Append(es, tx, 0)
	}
	var got []string
	for i := range es {
		got = append(got, es[i].ActorID.String()+" "+es[i].Position().String())
	}
	want := []string{"unknown 0/64#0", "alice 0/64#1", "alice 0/64#2", "bob 0/64#3", "unknown 0/C8#0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !strings.Contains(es[0].Attribution.String(), `"context":"bypassed"`) {
		t.Errorf("an entry without a stamp does not say so: %s", es[0].Attribution)
	}
	if s := e.Stats(); s.Bypassed != 2 || s.Attributed() != 3 || s.Entries != 5 {
		t.Errorf("stats %+v", s)
	}
}

func TestForgedMessagesAreEntries(t *testing.T) {
	other := [32]byte{9}
	for name, content := range map[string][]byte{
		"another key":         message(other, kindStamp, `{"x":7,"u":"eve"}`),
		"another transaction": message(testKey, kindStamp, `{"x":6,"u":"eve"}`),
		"no MAC at all":       []byte("hello"),
		"empty":               {},
		"unknown kind":        message(testKey, "Z9", `{}`),
		"not JSON":            message(testKey, kindStamp, `{"x":7,`),
		"event without event": message(testKey, kindEvent, `{"x":7}`),
	} {
		t.Run(name, func(t *testing.T) {
			es := enrichOne(t, Config{}, stamp(`{"x":7,"u":"a","c":{"actor_id":"alice"}}`), logical(content), insertOrder(orders('f')))
			if len(es) != 2 || es[0].Action.String() != "forged_context" {
				t.Fatalf("got %d entries, first action %s", len(es), es[0].Action)
			}
			if es[1].ActorID.String() != "alice" {
				t.Errorf("the forgery changed the actor to %s", es[1].ActorID)
			}
		})
	}
}

func TestMessagesOfOthersAreNotOurs(t *testing.T) {
	m := audit.Change{Op: audit.Logical, Message: &audit.Message{Prefix: "other", Content: []byte("x")}}
	if es := enrichOne(t, Config{}, m); len(es) != 0 {
		t.Errorf("got %d entries", len(es))
	}
}

func TestEventsAreEntries(t *testing.T) {
	ev := `{"x":7,"u":"web","at":5,"c":{"actor_id":"42"},"e":{"action":"login_failed","resource_type":"session","resource_id":"s1","details":{"tries": 3},"reason_code":"bad_password"}}`
	n := enrichOne(t, Config{}, logical(message(testKey, kindEvent, ev)))[0]
	got := []string{n.Action.String(), n.ResourceType.String(), n.ResourceID.String(), n.NewValues.String(), n.ReasonCode.String(), n.ActorID.String(), n.Operation.String()}
	want := []string{"login_failed", "session", "s1", `{"tries": 3}`, "bad_password", "42", "event"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A message outside of any transaction has the time it claims, or that of the
// entry before it.
func TestTimeOutsideOfTransactions(t *testing.T) {
	e, err := New("test", Config{}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	refused := message(testKey, kindRefused, `{"x":9,"u":"web","at":77,"e":{"action":"refund","resource_type":"order"}}`)
	forged := []byte("no")
	var es []audit.Entry
	for i, content := range [][]byte{refused, forged} {
		c := logical(content)
		c.Message.Transactional = false
		es = e.Append(es, &audit.Tx{CommitLSN: audit.LSN(i + 1), First: true, Last: true, Changes: []audit.Change{c}}, 55)
	}
	if es[0].Timestamp != 77 || es[0].Action.String() != "refused" || es[0].XID != 9 {
		t.Errorf("refused: time %d action %s xid %d", es[0].Timestamp, es[0].Action, es[0].XID)
	}
	if es[1].Timestamp != 55 {
		t.Errorf("forged: time %d", es[1].Timestamp)
	}
}

func TestActions(t *testing.T) {
	r := orders('f')
	cfg := Config{
		BulkThreshold: 2,
		Actions: []ActionRule{
			{Name: "broken", Table: "orders", Operation: "update", When: `int(new.status) > 3`, Action: "adjust"},
			{Name: "refund", Table: "orders", Operation: "update", When: `new.status == "refunded" && old.status != "refunded" && new.id == 1`, Action: "refund"},
			{Name: "other table", Table: "users", Action: "role_change"},
		},
	}
	update := func(status string) audit.Change {
		return audit.Change{Op: audit.Update, Relation: r, OldWhole: true, Old: row("1", "x", "1", "f"), New: row("1", status, "1", "f")}
	}
	es := enrichOne(t, cfg, update("refunded"), update("y"), update("z"))
	got := []string{es[0].Action.String(), es[1].Action.String()}
	if d := cmp.Diff([]string{"refund", "bulk_update"}, got); d != "" {
		t.Error(d)
	}
	if !strings.Contains(es[1].Attribution.String(), `"rule_error":"broken: `) {
		t.Errorf("a failed rule is not told: %s", es[1].Attribution)
	}
	if got := enrichOne(t, cfg, insertOrder(r))[0].Action.String(); got != "create" {
		t.Errorf("insert is %s", got)
	}
}

// A partition bears the name of its rows, and the rules, of the table it is a
// part of.
func TestPartitionsAreNamedAfterTheirRoot(t *testing.T) {
	leaf := orders('f')
	leaf.Name, leaf.RootSchema, leaf.RootName = "orders_2026_11", "public", "orders"
	cfg := Config{
		Tables:  []Table{{Schema: "public", Name: "orders", Resource: "order", Key: []string{"status"}}},
		Actions: []ActionRule{{Name: "r", Table: "orders", Action: "adjust"}},
	}
	n := enrichOne(t, cfg, insertOrder(leaf))[0]
	got := []string{n.ResourceType.String(), n.ResourceID.String(), n.Action.String(), n.TableName.String()}
	if d := cmp.Diff([]string{"order", "new", "adjust", "orders_2026_11"}, got); d != "" {
		t.Error(d)
	}
	if n := enrichOne(t, Config{}, insertOrder(leaf))[0]; n.ResourceType.String() != "orders" {
		t.Errorf("without a configured name: %s", n.ResourceType)
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	cfg := Config{
		Actors:  []ActorRule{{Match: ActorMatch{Network: "10.0.0.0/99"}, Actor: Actor{Type: "robot"}}},
		Actions: []ActionRule{{Name: "x", Operation: "upsert", When: "new.", Action: "fly"}},
	}
	got := cfg.Validate().Error()
	for _, path := range []string{"actors[0].name", "actors[0].match.network", "actors[0].actor.type", "actions[0].operation", "actions[0].when", "actions[0].action"} {
		if !strings.Contains(got, path+": ") {
			t.Errorf("%s is not reported in:\n%s", path, got)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	e, err := New("bench", Config{}, testKey)
	if err != nil {
		b.Fatal(err)
	}
	r := orders('f')
	update := audit.Change{Op: audit.Update, Relation: r, OldWhole: true, Old: row("1", "new", "10.00", "f"), New: row("1", "paid", "10.00", "t")}
	tx := audit.Tx{XID: 7, First: true, Last: true, Changes: []audit.Change{stamp(`{"x":7,"u":"web","c":{"actor_id":"42"}}`), update}}
	var es []audit.Entry
	b.ReportAllocs()
	for b.Loop() {
		es = e.Append(es[:0], &tx, 0)
	}
}
