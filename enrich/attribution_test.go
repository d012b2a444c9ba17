package enrich

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// stampOf makes a stamp of transaction 7 from the members of its payload.
func stampOf(t *testing.T, members map[string]any) audit.Change {
	t.Helper()
	members["x"] = 7
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return stamp(string(text))
}

// notesOf is the attribution of n; it must be JSON in which no key stands twice.
func notesOf(t *testing.T, n audit.Entry) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(n.Attribution.String()))
	var keys []map[string]bool
	for isKey := false; ; {
		token, err := d.Token()
		if err != nil {
			break
		}
		if delim, ok := token.(json.Delim); ok {
			if delim == '{' {
				keys, isKey = append(keys, map[string]bool{}), true
			} else if delim == '}' {
				keys, isKey = keys[:len(keys)-1], true
			}
			continue
		}
		if key, ok := token.(string); ok && isKey {
			if keys[len(keys)-1][key] {
				t.Errorf("%s stands twice in %s", key, n.Attribution)
			}
			keys[len(keys)-1][key] = true
			isKey = false
			continue
		}
		isKey = true
	}
	var notes map[string]any
	if err := json.Unmarshal(n.Attribution, &notes); err != nil {
		t.Fatalf("%v: %s", err, n.Attribution)
	}
	return notes
}

func TestPresetsStandBetweenSessionAndComment(t *testing.T) {
	said := map[string]any{"u": "authenticator", "p": map[string]any{"postgrest": map[string]string{
		"actor_id": "7f3", "actor_email": "a@example.com", "actor_role": "editor", "ip_address": "203.0.113.7, 10.0.0.1",
		"user_agent": "ua", "request_id": "r1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"hasura": map[string]string{"actor_id": "other"}},
		"q": "update t /*actor_id='eve',source='c'*/"}
	n := enrichOne(t, Config{}, stampOf(t, said), insertOrder(orders('f')))[0]
	got := []string{n.ActorID.String(), n.ActorRole.String(), n.ActorType.String(), n.IPAddress.String(), n.UserAgent.String(), n.RequestID.String(), n.TraceID.String(), n.Source.String()}
	want := []string{"7f3", "editor", "human", "203.0.113.7", "ua", "r1", "0af7651916cd43dd8448eb211c80319c", "c"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	notes := notesOf(t, n)
	if notes["actor_id"] != "preset:postgrest" || notes["trace_id"] != "preset:postgrest" || notes["forwarded"] != "203.0.113.7, 10.0.0.1" {
		t.Errorf("notes %v", notes)
	}
	said["c"] = map[string]string{"actor_id": "alice"}
	if n := enrichOne(t, Config{}, stampOf(t, said), insertOrder(orders('f')))[0]; n.ActorID.String() != "alice" {
		t.Errorf("the session variable does not win: %s", n.ActorID)
	}
	broken := map[string]any{"u": "web", "p": map[string]any{"hasura": map[string]string{"invalid": "{"}}}
	if n := enrichOne(t, Config{}, stampOf(t, broken), insertOrder(orders('f')))[0]; notesOf(t, n)["invalid_hasura"] != "{" || n.ActorID.String() != "db:web" {
		t.Errorf("broken variables: %s %s", n.ActorID, n.Attribution)
	}
}

// A row names its writer only if this very change wrote the name.
func TestRowNamesItsWriter(t *testing.T) {
	r := orders('f')
	cfg := Config{
		Tables: []Table{{Schema: "public", Name: "orders", ActorColumn: "status", ReasonColumn: "total"}},
		Actors: []ActorRule{{Name: "web", Match: ActorMatch{DBUser: "web"}, Actor: Actor{ID: "system:web"}}},
	}
	key := orders('d')
	key.ID = 9
	for _, c := range []struct {
		name   string
		change audit.Change
		want   string // actor, reason, source of the actor
	}{
		{"insert", audit.Change{Op: audit.Insert, Relation: r, New: row("1", "alice", "damaged", "f")}, "alice damaged row"},
		{"update that writes it", audit.Change{Op: audit.Update, Relation: r, OldWhole: true, Old: row("1", "alice", "x", "f"), New: row("1", "bob", "x", "f")}, "bob  row"},
		{"update that leaves it", audit.Change{Op: audit.Update, Relation: r, OldWhole: true, Old: row("1", "alice", "x", "f"), New: row("1", "alice", "y", "f")}, "system:web y rule:web"},
		{"update whose old row is unknown", audit.Change{Op: audit.Update, Relation: key, New: row("1", "alice", "x", "f")}, "system:web  rule:web"},
		{"unchanged TOAST", audit.Change{Op: audit.Update, Relation: r, OldWhole: true, Old: row("1", "alice", "x", "f"), New: row("1", "TOAST", "x", "f")}, "system:web  rule:web"},
		{"set to NULL", audit.Change{Op: audit.Update, Relation: r, OldWhole: true, Old: row("1", "alice", "x", "f"), New: row("1", "NULL", "x", "f")}, "system:web  rule:web"},
		{"delete", audit.Change{Op: audit.Delete, Relation: r, OldWhole: true, Old: row("1", "alice", "x", "f")}, "system:web  rule:web"},
	} {
		es := enrichOne(t, cfg, stampOf(t, map[string]any{"u": "web"}), c.change, c.change)
		for _, n := range es {
			if got := fmt.Sprintf("%s %s %v", n.ActorID, n.ReasonCode, notesOf(t, n)["actor_id"]); got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
	}
	insert := audit.Change{Op: audit.Insert, Relation: r, New: row("1", "alice", "damaged", "f")}
	n := enrichOne(t, cfg, stampOf(t, map[string]any{"u": "web", "c": map[string]string{"actor_id": "42", "reason_code": "lost"}}), insert)[0]
	if n.ActorID.String() != "42" || n.ReasonCode.String() != "lost" {
		t.Errorf("the session variable does not win: %s %s", n.ActorID, n.ReasonCode)
	}
	if n := enrichOne(t, cfg, insert)[0]; n.ActorID.String() != "alice" || notesOf(t, n)["context"] != "bypassed" {
		t.Errorf("without a stamp: %s %s", n.ActorID, n.Attribution)
	}
}

// Whoever is not believed names nobody, and what he said is kept.
func TestOnlyBelievedUsersAreBelieved(t *testing.T) {
	cfg := Config{BelievedUsers: []string{"web", "worker_*"}}
	said := func(user string) audit.Entry {
		return enrichOne(t, cfg, stampOf(t, map[string]any{"u": user, "c": map[string]string{"actor_id": "alice", "context": `{"tenant":"a"}`},
			"q": "update t /*actor_id='eve',route='r'*/"}), insertOrder(orders('f')))[0]
	}
	for user, want := range map[string]string{"web": "alice", "worker_7": "alice", "mallory": "db:mallory", "web2": "db:web2"} {
		n := said(user)
		if n.ActorID.String() != want {
			t.Errorf("%s: actor %s, want %s", user, n.ActorID, want)
		}
		if want == "alice" {
			continue
		}
		if d := cmp.Diff(map[string]any{"actor_id": "alice", "tenant": "a", "route": "r"}, notesOf(t, n)["disbelieved"]); d != "" {
			t.Errorf("%s: %s", user, d)
		}
	}
}

func TestContradictionsAreFlagged(t *testing.T) {
	cfg := Config{Actors: []ActorRule{
		{Name: "bob's psql", Match: ActorMatch{DBUser: "bob"}, Actor: Actor{ID: "bob", Type: "human"}},
		{Name: "web", Match: ActorMatch{DBRole: "app"}, Actor: Actor{ID: "system:web", Type: "system"}},
	}}
	alice := map[string]string{"actor_id": "alice"}
	n := enrichOne(t, cfg, stampOf(t, map[string]any{"u": "bob", "c": alice}), insertOrder(orders('f')))[0]
	if n.ActorID.String() != "alice" || n.DBUser.String() != "bob" || notesOf(t, n)["contradicts"] != "rule:bob's psql bob" {
		t.Errorf("%s %s", n.ActorID, n.Attribution)
	}
	n = enrichOne(t, cfg, stampOf(t, map[string]any{"u": "web", "r": "app", "c": alice}), insertOrder(orders('f')))[0]
	if notesOf(t, n)["contradicts"] != nil || n.ActorType.String() != "human" {
		t.Errorf("a program that acts for somebody is no contradiction: %s", n.Attribution)
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", " 192.0.2.1:8080 ": "192.0.2.1", "::ffff:192.0.2.7": "192.0.2.7", "[2001:DB8::0:1]:443": "2001:db8::1",
		"[2001:db8::1]": "2001:db8::1", "2001:0db8:0000::0001": "2001:db8::1", "fe80::1%eth0": "fe80::1", "[fe80::1%25eth0]:80": "fe80::1",
		"203.0.113.9, 10.0.0.1, 10.0.0.2": "203.0.113.9", "unknown, 203.0.113.9": "203.0.113.9",
		`for="[2001:db8:cafe::17]:4711";proto=http, for=10.0.0.1`: "2001:db8:cafe::17", `proto=http;For=192.0.2.60`: "192.0.2.60",
		"": "", "localhost": "", "1.2.3": "", "999.1.1.1": "", "for=_hidden": "", ",": "",
	} {
		ip, _, ok := parseAddress(in)
		if got := ip.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string][2]string{
		"puma - 192.0.2.1:5432": {"puma", "192.0.2.1"}, "a - b - 192.0.2.1:1": {"a - b", "192.0.2.1"}, "app - [2001:db8::1]:80": {"app", "2001:db8::1"},
		"app - 2001:db8::1:5432": {"app", "2001:db8::1"}, "app": {"app", ""}, "app - unix(123)@/tmp:6432": {"app - unix(123)@/tmp:6432", ""}, "a - b": {"a - b", ""},
	} {
		name, ip, ok := pooledApplication(in)
		if got := ip.String(); name != want[0] || ok != (want[1] != "") || ok && got != want[1] {
			t.Errorf("%q is %q %s", in, name, got)
		}
	}
}

// atlas is a Locator of one place.
type atlas struct{}

func (atlas) Name() string { return "atlas 2026-01-01" }

func (atlas) Locate(ip netip.Addr) Place {
	if ip == netip.MustParseAddr("203.0.113.7") {
		return Place{"NL", "Utrecht", "52.09", "5.12"}
	}
	return Place{}
}

func TestPlacesOfAddresses(t *testing.T) {
	located := func(ip string) audit.Entry {
		return enrichOne(t, Config{Places: atlas{}}, stampOf(t, map[string]any{"u": "web", "h": ip}), insertOrder(orders('f')))[0]
	}
	n := located("203.0.113.7")
	if got := []string{n.GeoCountry.String(), n.GeoCity.String(), n.GeoLat.String(), n.GeoLon.String()}; !cmp.Equal(got, []string{"NL", "Utrecht", "52.09", "5.12"}) {
		t.Errorf("%v", got)
	}
	if notesOf(t, n)["geo"] != "atlas 2026-01-01" {
		t.Errorf("the edition is not named: %s", n.Attribution)
	}
	if n := located("10.0.0.1"); n.GeoCountry != nil || notesOf(t, n)["geo"] != nil {
		t.Errorf("a place out of nowhere: %s", n.Attribution)
	}
}

// Contexts of any shape are kept, exactly, and never fatal.
func TestContextsAreKept(t *testing.T) {
	for _, c := range []struct {
		context, actor string
		notes          map[string]any
	}{
		{``, "db:web", nil},
		{`{"actor_id": 9007199254740993}`, "9007199254740993", nil},
		{`{"actor_id": "a\u0000b"}`, "a\x00b", nil},
		{`{"tenant": {"id": 7, "name": "<x>"}, "n": 1.50, "gone": null}`, "db:web", map[string]any{"context_claims": map[string]any{"tenant": `{"id":7,"name":"<x>"}`, "n": "1.50", "gone": "null"}}},
		{`{"actor_id": `, "db:web", map[string]any{"invalid_context": `{"actor_id": `}},
		{`["a"]`, "db:web", map[string]any{"invalid_context": `["a"]`}},
		{`{"actor_id": "a"} x`, "db:web", map[string]any{"invalid_context": `{"actor_id": "a"} x`}},
		{"\xff\xfe", "db:web", nil},
		{strings.Repeat("x", 1<<20), "db:web", map[string]any{"invalid_context": strings.Repeat("x", 1<<20)}},
		{`{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-zz-01"}`, "db:web", map[string]any{"invalid_traceparent": "00-0af7651916cd43dd8448eb211c80319c-zz-01"}},
	} {
		n := enrichOne(t, Config{}, stampOf(t, map[string]any{"u": "web", "c": map[string]string{"context": c.context}}), insertOrder(orders('f')))[0]
		notes := notesOf(t, n)
		if n.ActorID.String() != c.actor {
			t.Errorf("%.40q: actor %q, want %q", c.context, n.ActorID, c.actor)
		}
		for k, v := range c.notes {
			if d := cmp.Diff(v, notes[k]); d != "" {
				t.Errorf("%.40q: %s: %.200s", c.context, k, d)
			}
		}
	}
}

func TestStampsOfAnotherDatabaseAreForgeries(t *testing.T) {
	for payload, want := range map[string]string{
		`{"x":7,"d":"shop","u":"web"}`:         "create",
		`{"x":7,"d":"copy","u":"web"}`:         "forged_context",
		`{"x":7,"u":"web"}`:                    "forged_context",
		`{"x":7,"i":5,"err":"22021"}`:          "create",
		`{"x":7,"d":"copy","i":5,"err":"1"}`:   "forged_context",
		`{"x":8,"d":"shop","u":"web","i":100}`: "forged_context",
	} {
		if n := enrichOne(t, Config{Database: "shop"}, stamp(payload), insertOrder(orders('f')))[0]; n.Action.String() != want {
			t.Errorf("%s: %s, want %s", payload, n.Action, want)
		}
	}
}

// What the table of users said counts for the actor that it was asked about.
func TestDirectoryTellsTheRoleOfTheMoment(t *testing.T) {
	said := map[string]string{"actor_id": "42", "actor_email": "a@example.com", "actor_role": "clerk", "team": "north"}
	for _, c := range []struct {
		name    string
		members map[string]any
		want    string // email, role, source of the role, team
	}{
		{"by session", map[string]any{"c": map[string]string{"actor_id": "42"}, "w": said}, "a@example.com clerk directory north"},
		{"the session's role wins", map[string]any{"c": map[string]string{"actor_id": "42", "actor_role": "chief"}, "w": said}, "a@example.com chief session north"},
		{"before a preset's role", map[string]any{"p": map[string]any{"hasura": map[string]string{"actor_id": "42", "actor_role": "user"}}, "w": said}, "a@example.com clerk directory north"},
		{"not for another actor", map[string]any{"c": map[string]string{"actor_id": "43"}, "w": said}, "  <nil> <nil>"},
		{"a failure is told", map[string]any{"c": map[string]string{"actor_id": "42"}, "w": map[string]string{"error": "42703"}}, "  <nil> <nil>"},
	} {
		c.members["u"] = "web"
		n := enrichOne(t, Config{}, stampOf(t, c.members), insertOrder(orders('f')))[0]
		notes := notesOf(t, n)
		if got := fmt.Sprintf("%s %s %v %v", n.ActorEmail, n.ActorRole, notes["actor_role"], notes["team"]); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if strings.Contains(c.name, "failure") != (notes["directory_error"] != nil) {
			t.Errorf("%s: %s", c.name, n.Attribution)
		}
	}
}
