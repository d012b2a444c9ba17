package enrich

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// FuzzStamp writes any message in front of a row, as any role of the database
// may, and with our key, as the triggers do with whatever clients put into it.
// The row always becomes an entry; without our key nobody is named by the
// message; and the same log makes the same entries, also when the stamp was
// seen before.
func FuzzStamp(f *testing.F) {
	for _, kind := range []string{kindStamp, kindEvent, kindRefused, "S2", ""} {
		for _, payload := range []string{
			`{"x":7,"d":"shop","u":"bob","a":"psql","h":"10.0.0.1","i":9,"c":{"actor_id":"ann","reason_code":"x"},"q":"select 1 /*actor='eve'*/"}`,
			`{"x":7,"e":{"action":"export","resource_type":"order"},"at":1}`,
			`{"x":8}`, `{"x":7`, `{"x":7,"c":{"context":"{\"actor_id\":[1]}"}}`, "", "\x00\xff", `{"x":7,"q":"/*` + strings.Repeat("a", 100) + `"}`,
		} {
			f.Add(kind, payload, true, true)
			f.Add(kind, payload, false, true)
		}
	}
	f.Add(kindEvent, `{"x":7,"e":{"action":"login_failed"}}`, true, false)
	f.Fuzz(func(t *testing.T, kind, payload string, sealed, transactional bool) {
		content := []byte(kind + strings.Repeat("m", macSize) + payload)
		if sealed {
			content = message(testKey, (kind + "S1")[:2], payload)
		}
		c := logical(content)
		c.Message.Transactional = transactional
		tx := audit.Tx{XID: 7, CommitLSN: 100, EndLSN: 120, CommitTime: 1, First: true, Last: true, Changes: []audit.Change{c, insertOrder(orders('f'))}}
		e, err := New("test", Config{}, testKey)
		if err != nil {
			t.Fatal(err)
		}
		first, again := e.Append(nil, &tx, 0), e.Append(nil, &tx, 0)
		if d := cmp.Diff(first, again); d != "" {
			t.Errorf("the same transaction, seen again, makes other entries: %s", d)
		}
		if len(first) == 0 || string(first[len(first)-1].Operation) != "insert" {
			t.Fatalf("the row is no entry: %+v", first)
		}
		for i := range first {
			n := &first[i]
			for _, text := range []audit.Text{n.Attribution, n.OldValues, n.NewValues} {
				if text != nil && !json.Valid(text) {
					t.Errorf("not JSON: %q", text)
				}
			}
		}
		if row := first[len(first)-1]; !sealed && row.ActorID.String() != "unknown" {
			t.Errorf("a message that is not ours names %q", row.ActorID)
		}
	})
}
