package enrich

import (
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// A refused attempt is told as a change of the row would have been, by the name
// that the configuration gives the table, also where it was made on a partition.
func TestRefusedAttemptIsAnEntry(t *testing.T) {
	cfg := Config{Tables: []Table{{Schema: "public", Name: "moves", Resource: "stock_movement"}}}
	e, err := New("test", cfg, testKey)
	if err != nil {
		t.Fatal(err)
	}
	c := logical(message(testKey, kindRefused, `{"x":9,"u":"web","c":{"actor_id":"alice","actor_type":"human"},"at":77,"e":{"action":"adjust","resource_id":"2026/A",`+
		`"of":["public", "moves"],"schema":"public","table":"moves_2026","details":{"guard":"write-down","operation":"insert","missing":["reason_code"],"row":{"by":"-11"}}}}`))
	c.Message.Transactional = false
	n := e.Append(nil, &audit.Tx{CommitLSN: 5, First: true, Last: true, Changes: []audit.Change{c}}, 55)[0]
	for what, pair := range map[string][2]string{
		"action": {n.Action.String(), "refused"}, "operation": {n.Operation.String(), "refused"}, "actor": {n.ActorID.String(), "alice"},
		"resource": {n.ResourceType.String() + " " + n.ResourceID.String(), "stock_movement 2026/A"},
		"table":    {n.SchemaName.String() + "." + n.TableName.String(), "public.moves_2026"},
		"values":   {n.NewValues.String(), `{"guard":"write-down","operation":"insert","missing":["reason_code"],"row":{"by":"-11"}}`},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	if !strings.Contains(n.Attribution.String(), `"refused_action":"adjust"`) || e.Stats().Refused != 1 {
		t.Errorf("attribution %s, %d refused", n.Attribution, e.Stats().Refused)
	}
}

// What an event says of itself goes before what the session says, and is said
// to come from there.
func TestEventNamesItsActor(t *testing.T) {
	n := enrichOne(t, Config{}, logical(message(testKey, kindEvent, `{"x":7,"u":"web","c":{"actor_id":"gateway","request_id":"r1","reason_code":"s"},`+
		`"e":{"action":"read","resource_type":"card","resource_id":"4711","actor_id":"alice","ip_address":"203.0.113.9","user_agent":"curl/8","api_key_id":"k1","reason_code":"chargeback","on_behalf_of":"customer 17"}}`)))[0]
	got := strings.Join([]string{n.ActorID.String(), n.IPAddress.String(), n.UserAgent.String(), n.APIKeyID.String(), n.RequestID.String(), n.ReasonCode.String()}, " ")
	if got != "alice 203.0.113.9 curl/8 k1 r1 chargeback" {
		t.Errorf("got %s", got)
	}
	for _, part := range []string{`"actor_id":"event"`, `"reason_code":"event"`, `"ip_address":"event"`, `"request_id":"session"`, `"on_behalf_of":"customer 17"`} {
		if !strings.Contains(n.Attribution.String(), part) {
			t.Errorf("attribution %s lacks %s", n.Attribution, part)
		}
	}
}

// The value of a secret column is nowhere in an entry; that it changed, and
// what rules make of that, is.
func TestSecretsStayOut(t *testing.T) {
	r := &audit.Relation{ID: 3, Schema: "public", Name: "api_keys", Identity: 'f', Key: []int{0},
		Columns: []audit.Column{{Name: "id", TypeOID: 25, InIdentity: true}, {Name: "hash", TypeOID: 25, InIdentity: true}, {Name: "owner", TypeOID: 25, InIdentity: true}}}
	cfg := Config{
		Tables: []Table{{Schema: "public", Name: "api_keys", Secret: []string{"hash"}}},
		Actions: []ActionRule{
			{Name: "clumsy", Table: "api_keys", Operation: "update", When: "int(new.hash) > 1 && int(old.hash) > 1", Action: "key_rotated"},
			{Name: "rotated", Table: "api_keys", Operation: "update", When: "new.hash != old.hash", Action: "key_rotated"},
			{Name: "revoked", Table: "api_keys", Operation: "update", When: "new.hash == nil || new.owner == nil", Action: "key_revoked"},
		},
	}
	for _, c := range []struct {
		name, action, old, new string
		change                 audit.Change
	}{
		{"insert", "create", "", `{"id":"k1","hash":["secret"],"owner":"bob"}`, audit.Change{Op: audit.Insert, New: row("k1", "s3cret", "bob")}},
		{"rotation", "key_rotated", `{"id":"k1","hash":["secret"]}`, `{"id":"k1","hash":["secret"]}`,
			audit.Change{Op: audit.Update, OldWhole: true, Old: row("k1", "s3cret", "bob"), New: row("k1", "s3cret2", "bob")}},
		{"first value", "key_rotated", `{"id":"k1","hash":null}`, `{"id":"k1","hash":["secret"]}`,
			audit.Change{Op: audit.Update, OldWhole: true, Old: row("k1", "NULL", "bob"), New: row("k1", "s3cret", "bob")}},
		{"another column", "key_revoked", `{"id":"k1","owner":"bob"}`, `{"id":"k1","owner":null}`,
			audit.Change{Op: audit.Update, OldWhole: true, Old: row("k1", "s3cret", "bob"), New: row("k1", "s3cret", "NULL")}},
		{"delete", "delete", `{"id":"k1","hash":["secret"],"owner":"bob"}`, "", audit.Change{Op: audit.Delete, OldWhole: true, Old: row("k1", "s3cret", "bob")}},
	} {
		c.change.Relation = r
		n := enrichOne(t, cfg, c.change)[0]
		if n.Action.String() != c.action || n.OldValues.String() != c.old || n.NewValues.String() != c.new {
			t.Errorf("%s: %s %s → %s", c.name, n.Action, n.OldValues, n.NewValues)
		}
		if all := n.OldValues.String() + n.NewValues.String() + n.Attribution.String() + n.ResourceID.String(); strings.Contains(all, "s3cret") {
			t.Errorf("%s: the secret is in the entry: %s", c.name, all)
		}
	}
	keyed := *r
	keyed.ID, keyed.Key = 4, []int{1}
	if n := enrichOne(t, cfg, audit.Change{Op: audit.Insert, Relation: &keyed, New: row("k1", "s3cret", "bob")})[0]; n.ResourceID.String() != "[secret]" {
		t.Errorf("a secret key names the row %s", n.ResourceID)
	}
}
