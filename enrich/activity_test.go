package enrich

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// activityLog is the relation of an application's own activity table.
func activityLog() *audit.Relation {
	r := &audit.Relation{ID: 77, Schema: "public", Name: "activity", Identity: 'f'}
	for _, name := range []string{"user", "ip", "agent"} {
		r.Columns = append(r.Columns, audit.Column{Name: name, TypeOID: 25, InIdentity: true})
	}
	return r
}

func logged(user, ip, agent string) audit.Change {
	return audit.Change{Op: audit.Insert, Relation: activityLog(), New: row(user, ip, agent)}
}

// who is what an entry says of its actor, and how it is known.
type who struct{ Actor, From, IP, IPFrom, Agent, Flag string }

func whoOf(t *testing.T, n audit.Entry) who {
	t.Helper()
	notes := notesOf(t, n)
	text := func(key string) string { s, _ := notes[key].(string); return s }
	return who{n.ActorID.String(), text("actor_id"), n.IPAddress.String(), text("ip_address"), n.UserAgent.String(), text("activity")}
}

// The rows of an activity table say who made the changes of their transaction,
// whether they come behind or before.
func TestActivityRowsNameTheActor(t *testing.T) {
	cfg := Config{Tables: []Table{{Schema: "public", Name: "activity", Activity: Activity{Actor: "user", IPAddress: "ip", UserAgent: "agent"}}}}
	byRow := cfg
	byRow.Tables = append(slices.Clone(cfg.Tables), Table{Schema: "public", Name: "orders", ActorColumn: "status"})
	r := orders('f')
	of := "row:activity"
	status := insertOrder(r).New[slices.IndexFunc(r.Columns, func(c audit.Column) bool { return c.Name == "status" })].Data
	observed := who{"db:web", "observed", "10.0.0.9", "observed", "", ""}
	alice := who{"alice", of, "203.0.113.9", of, "Firefox", ""}
	web, claimed := map[string]any{"u": "web", "h": "10.0.0.9"}, map[string]any{"u": "web", "h": "10.0.0.9", "c": map[string]string{"actor_id": "carol"}}

	cases := []struct {
		name    string
		cfg     Config
		stamp   map[string]any
		changes []audit.Change
		want    who // of the change of an order
	}{
		{"behind the change", cfg, web, []audit.Change{insertOrder(r), logged("alice", "203.0.113.9", "Firefox")}, alice},
		{"before the change", cfg, web, []audit.Change{logged("alice", "203.0.113.9", "Firefox"), insertOrder(r)}, alice},
		{"twice the same", cfg, web, []audit.Change{logged("alice", "203.0.113.9", "Firefox"), insertOrder(r), logged("alice", "203.0.113.9", "Firefox")}, alice},
		{"from two addresses", cfg, web, []audit.Change{insertOrder(r), logged("alice", "203.0.113.9", "Firefox"), logged("alice", "203.0.113.8", "Firefox"), logged("alice", "203.0.113.9", "Firefox")},
			who{"alice", of, "10.0.0.9", "observed", "Firefox", ""}},
		{"two actors", cfg, web, []audit.Change{insertOrder(r), logged("alice", "203.0.113.9", ""), logged("bert", "203.0.113.8", ""), logged("alice", "203.0.113.9", "")},
			who{"db:web", "observed", "10.0.0.9", "observed", "", "names several actors"}},
		{"nobody", cfg, web, []audit.Change{insertOrder(r), logged("", "203.0.113.9", "Firefox")}, observed},
		{"none", cfg, web, []audit.Change{insertOrder(r)}, observed},
		{"not configured", Config{}, web, []audit.Change{insertOrder(r), logged("alice", "203.0.113.9", "Firefox")}, observed},
		{"the session names another", cfg, claimed, []audit.Change{insertOrder(r), logged("alice", "203.0.113.9", "Firefox")}, who{"carol", "session", "10.0.0.9", "observed", "", ""}},
		{"the session names the same", cfg, claimed, []audit.Change{insertOrder(r), logged("carol", "203.0.113.9", "Firefox")}, who{"carol", "session", "203.0.113.9", of, "Firefox", ""}},
		{"the row names another", byRow, web, []audit.Change{insertOrder(r), logged("alice", "203.0.113.9", "Firefox")}, who{string(status), "row", "10.0.0.9", "observed", "", ""}},
		{"the row names the same", byRow, web, []audit.Change{insertOrder(r), logged(string(status), "203.0.113.9", "Firefox")}, who{string(status), "row", "203.0.113.9", of, "Firefox", ""}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			seen := 0
			for _, n := range enrichOne(t, c.cfg, append([]audit.Change{stampOf(t, c.stamp)}, c.changes...)...) {
				if n.TableName.String() != "orders" {
					continue
				}
				seen++
				if d := cmp.Diff(c.want, whoOf(t, n)); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
			}
			if seen != 1 {
				t.Errorf("%d entries of orders, want 1", seen)
			}
		})
	}
}

// Of a transaction in parts, each part knows the activity rows up to its end,
// and the next transaction knows nothing of them.
func TestActivityOfATransactionInParts(t *testing.T) {
	e, err := New("shop", Config{Tables: []Table{{Schema: "public", Name: "activity", Activity: Activity{Actor: "user"}}}}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	r := orders('f')
	var got []string
	for _, part := range []audit.Tx{
		{XID: 7, First: true, Changes: []audit.Change{stampOf(t, map[string]any{"u": "web"}), insertOrder(r)}},
		{XID: 7, Changes: []audit.Change{insertOrder(r), logged("alice", "", "")}},
		{XID: 7, Last: true, Changes: []audit.Change{insertOrder(r)}},
		{XID: 8, First: true, Last: true, Changes: []audit.Change{insertOrder(r)}},
	} {
		for _, n := range e.Append(nil, &part, 0) {
			got = append(got, n.ActorID.String())
		}
	}
	if d := cmp.Diff([]string{"db:web", "alice", "alice", "alice", "unknown"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
