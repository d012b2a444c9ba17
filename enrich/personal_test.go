package enrich

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// readableTokens fills the blanks with <class subject value>, padded to the size
// of a token, so that a test can read them; and takes the padding out again.
func readableTokens(t *testing.T, e *Enricher, entries []audit.Entry) []audit.Entry {
	t.Helper()
	for _, b := range e.Blanks() {
		text := fmt.Sprintf("<%s %s %s>", b.Class, b.Subject, b.Value)
		if len(b.At) != audit.TokenSize || len(text) > audit.TokenSize || string(b.At) != blankText {
			t.Fatalf("the blank of %s is %q", text, b.At)
		}
		copy(b.At, text+strings.Repeat("·", audit.TokenSize)[:audit.TokenSize-len(text)])
	}
	plain := func(text audit.Text) audit.Text {
		if text == nil {
			return nil
		}
		if strings.Contains(text.String(), "---") {
			t.Errorf("a blank is left in %s", text)
		}
		return audit.T(strings.Map(func(r rune) rune {
			if r == '·' || r == '\uFFFD' {
				return -1
			}
			return r
		}, text.String()))
	}
	for i := range entries {
		n := &entries[i]
		n.OldValues, n.NewValues, n.ResourceID = plain(n.OldValues), plain(n.NewValues), plain(n.ResourceID)
		n.ActorEmail, n.IPAddress, n.UserAgent, n.Attribution = plain(n.ActorEmail), plain(n.IPAddress), plain(n.UserAgent), plain(n.Attribution)
	}
	return entries
}

func withPersonal(subject string, columns map[string]PersonalColumn, key ...string) Config {
	return Config{Tables: []Table{{Schema: "public", Name: "orders", Key: key, Subject: subject, Secret: []string{"paid"}, Personal: columns}}}
}

func appendTx(e *Enricher, changes ...audit.Change) []audit.Entry {
	tx := audit.Tx{XID: 7, CommitLSN: 100, EndLSN: 120, CommitTime: 1_700_000_000_000_000, First: true, Last: true, Changes: changes}
	return e.Append(nil, &tx, 0)
}

func TestPersonalColumns(t *testing.T) {
	status := map[string]PersonalColumn{"status": {Class: "email"}, "paid": {Class: "other"}}
	full, def := orders('f'), orders('d')
	update := func(r *audit.Relation, old, now audit.Tuple) audit.Change {
		return audit.Change{Op: audit.Update, Relation: r, Old: old, OldWhole: r.Identity == 'f', New: now}
	}
	for _, c := range []struct {
		name         string
		cfg          Config
		change       audit.Change
		old, new, id string
	}{
		{"insert", withPersonal("customer:{id}", status), insertOrder(full),
			"", `{"id":1,"status":"<email customer:1 new>","total":"10.00","paid":["secret"]}`, "1"},
		{"another value", withPersonal("customer:{id}", status), update(full, row("1", "a", "1", "f"), row("1", "b", "1", "f")),
			`{"id":1,"status":"<email customer:1 a>"}`, `{"id":1,"status":"<email customer:1 b>"}`, "1"},
		{"the same value is not told", withPersonal("customer:{id}", status), update(full, row("1", "a", "1", "f"), row("1", "a", "2", "f")),
			`{"id":1,"total":"1"}`, `{"id":1,"total":"2"}`, "1"},
		{"NULL and the empty string", withPersonal("customer:{id}", status), update(full, row("1", "NULL", "1", "f"), row("1", "", "1", "f")),
			`{"id":1,"status":null}`, `{"id":1,"status":"<email customer:1 >"}`, "1"},
		{"of the old row, whose it was", withPersonal("customer:{total}", status), update(full, row("1", "a", "1", "f"), row("1", "b", "2", "f")),
			`{"id":1,"status":"<email customer:1 a>","total":"1"}`, `{"id":1,"status":"<email customer:2 b>","total":"2"}`, "1"},
		{"a subject from the unchanged rest of the row", withPersonal("customer:{total}", status), update(full, row("1", "a", "5", "f"), row("1", "b", "TOAST", "f")),
			`{"id":1,"status":"<email customer:5 a>"}`, `{"id":1,"status":"<email customer:5 b>"}`, "1"},
		{"nobody known is the row itself", withPersonal("customer:{total}", status), audit.Change{Op: audit.Insert, Relation: full, New: row("4", "a", "NULL", "t")},
			"", `{"id":4,"status":"<email orders:4 a>","total":null,"paid":["secret"]}`, "4"},
		{"without a subject it is the row itself", withPersonal("", status), insertOrder(full),
			"", `{"id":1,"status":"<email orders:1 new>","total":"10.00","paid":["secret"]}`, "1"},
		{"a subject of two columns", withPersonal("{total}/{status}", status), audit.Change{Op: audit.Insert, Relation: full, New: row("4", "a/b", "1", "NULL")},
			"", `{"id":4,"status":"<email 1/a%2Fb a/b>","total":"1","paid":null}`, "4"},
		{"a column of another subject", withPersonal("customer:{id}", map[string]PersonalColumn{"status": {Class: "name", Subject: "gift:{total}"}, "total": {Class: "sum"}}), insertOrder(full),
			"", `{"id":1,"status":"<name gift:10.00 new>","total":"<sum customer:1 10.00>","paid":["secret"]}`, "1"},
		{"a number", withPersonal("", map[string]PersonalColumn{"id": {Class: "ssn", Subject: "person"}}), audit.Change{Op: audit.Delete, Relation: full, Old: row("7", "a", "1", "NULL"), OldWhole: true},
			`{"id":"<ssn person 7>","status":"a","total":"1","paid":null}`, "", "<ssn person 7>"},
		{"a key of two columns", withPersonal("o:{id}", status, "id", "status"), insertOrder(def),
			"", `{"id":1,"status":"<email o:1 new>","total":"10.00","paid":["secret"]}`, "1/<email o:1 new>"},
		{"what looks like a token", withPersonal("", status), audit.Change{Op: audit.Insert, Relation: full, New: row("1", "x", "pii:"+strings.Repeat("0", 64), "NULL")},
			"", `{"id":1,"status":"<email orders:1 x>","total":"\u0070ii:` + strings.Repeat("0", 64) + `","paid":null}`, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := New("test", c.cfg, testKey)
			if err != nil {
				t.Fatal(err)
			}
			n := readableTokens(t, e, appendTx(e, c.change))[0]
			if diff := cmp.Diff([]string{c.old, c.new, c.id}, []string{n.OldValues.String(), n.NewValues.String(), n.ResourceID.String()}); diff != "" {
				t.Error(diff)
			}
			if marked := strings.Contains(n.Attribution.String(), `"personal_resource_id":true`); marked != strings.Contains(c.id, "<") {
				t.Errorf("attribution is %s", n.Attribution)
			}
		})
	}
}

func TestPersonalFields(t *testing.T) {
	cfg := Config{Personal: Personal{Fields: []string{"actor_email", "ip_address"}, Subject: "user:{actor_id}"}, BelievedUsers: []string{"web"}}
	e, err := New("test", cfg, testKey)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"actor_id": "u1", "actor_email": "a@x", "ip_address": "192.0.2.1, 10.0.0.2", "user_agent": "browser"}
	stamps := []audit.Change{
		stampOf(t, map[string]any{"u": "web", "h": "10.0.0.9", "a": "app - 10.1.1.1:5000", "c": claims}),
		stampOf(t, map[string]any{"u": "evil", "h": "10.0.0.9", "c": claims}),
		stampOf(t, map[string]any{"u": "web", "h": "10.0.0.9", "c": map[string]any{"context": `{"actor_email":"b@x`}}),
	}
	var all []string
	for range 2 { // the contexts are remembered: each round has tokens of its own
		var changes []audit.Change
		for _, s := range stamps {
			changes = append(changes, s, insertOrder(orders('f')), insertOrder(orders('f')))
		}
		entries := appendTx(e, changes...)
		if n := len(e.blanks); n != 3+4+2 {
			t.Errorf("%d blanks, want one for each value of a context", n)
		}
		last := entries[len(entries)-1].Position()
		if got := e.blanks[len(e.blanks)-1].Position; got != last {
			t.Errorf("position %v, want that of the last entry that shares the blank, %v", got, last)
		}
		for _, n := range readableTokens(t, e, entries) {
			all = append(all, fmt.Sprintf("%s|%s|%s|%s|%s", n.ActorEmail, n.IPAddress, n.UserAgent, n.ApplicationName, n.Attribution))
		}
	}
	one := `<email user:u1 a@x>|<ip user:u1 192.0.2.1>|browser|app|{"actor_id":"session","actor_email":"session","actor_type":"inferred","ip_address":"session","user_agent":"session","personal":["actor_email","ip_address"],"observed":{"host":"<ip user:u1 10.0.0.9>"},"forwarded":"<ip user:u1 192.0.2.1, 10.0.0.2>"}`
	two := `|<ip user:db:evil 10.0.0.9>|||{"actor_id":"observed","actor_type":"none","ip_address":"observed","personal":["ip_address"],"disbelieved":{"actor_id":"u1","actor_email":"<email user:db:evil a@x>","ip_address":"<ip user:db:evil 192.0.2.1, 10.0.0.2>","user_agent":"browser"}}`
	three := `|<ip user:db:web 10.0.0.9>|||{"actor_id":"observed","actor_type":"none","ip_address":"observed","personal":["ip_address"],"invalid_context":"<context user:db:web {"actor_email":"b@x>"}`
	if diff := cmp.Diff([]string{one, one, two, two, three, three, one, one, two, two, three, three}, all); diff != "" {
		t.Error(diff)
	}
}

// Where nothing is personal, tokens cost nothing.
func TestNothingPersonalAllocatesNothing(t *testing.T) {
	e, err := New("test", Config{}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	tx := audit.Tx{XID: 7, CommitLSN: 100, EndLSN: 120, CommitTime: 1_700_000_000_000_000, First: true, Last: true,
		Changes: []audit.Change{insertOrder(orders('f')), insertOrder(orders('f'))}}
	tx.Changes[1].Relation = tx.Changes[0].Relation
	entries := e.Append(nil, &tx, 0)
	if n := testing.AllocsPerRun(100, func() { entries = e.Append(entries[:0], &tx, 0) }); n > 0 {
		t.Errorf("%v allocations for two rows", n)
	}
	if len(e.blanks)+len(e.holes) > 0 {
		t.Error("there are blanks")
	}
}

// An action rule sees clear values, and its error quotes none.
func TestRulesSeeClearValues(t *testing.T) {
	cfg := withPersonal("", map[string]PersonalColumn{"status": {Class: "email"}})
	cfg.Actions = []ActionRule{
		{Name: "broken", Table: "orders", When: "new.status + 1 == 2", Action: "reject"},
		{Name: "new", Table: "orders", When: "new.status == 'new'", Action: "approve"},
	}
	n := enrichOne(t, cfg, insertOrder(orders('f')))[0]
	if n.Action.String() != "approve" || notesOf(t, n)["rule_error"] != "broken: failed on values of which some are personal" {
		t.Errorf("action %s, attribution %s", n.Action, n.Attribution)
	}
}

func TestPersonalConfiguration(t *testing.T) {
	for want, columns := range map[string]map[string]PersonalColumn{
		`personal.email.class: "E-Mail" is not a word of lower-case letters, digits and _, such as email, name, phone, address`: {"email": {Class: "E-Mail"}},
		`personal.email.subject: "x:{" has no column between { and }: the form is customer:{customer_id}`:                       {"email": {Class: "email", Subject: "x:{"}},
		`personal.email.subject: "x:a}" has a } without a {`:                                                                    {"email": {Class: "email", Subject: "x:a}"}},
		`subject: names whose the personal columns are, and there are none`:                                                     nil,
	} {
		problems := ValidatePersonal(map[bool]string{true: "c:{id}", false: ""}[columns == nil], columns)
		if len(problems) != 1 || problems[0].Error() != want {
			t.Errorf("%v, want %s", problems, want)
		}
	}
	for want, p := range map[string]Personal{
		`personal.fields[0]: is "actor_id", want one of actor_email, ip_address, user_agent`: {Fields: []string{"actor_id"}},
		`personal.subject: {id} is not known here: only {actor_id} is`:                       {Subject: "x:{id}"},
	} {
		if err := (Config{Personal: p}).Validate(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
