package trail

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// ask returns the state of order id after the entry with that number.
func (b *book) ask(id string, sequence int) *State {
	b.t.Helper()
	q := StateQuery{Stream: "shop", ResourceType: "order", ResourceID: id}
	if sequence >= 0 {
		q.At = second(sequence)
	}
	s, err := b.State(b.t.Context(), q)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// short tells a state in one line: standing, columns, and * for complete.
func short(s *State) string {
	var b strings.Builder
	b.WriteString(string(s.Standing))
	if s.Complete {
		b.WriteString("*")
	}
	for _, c := range s.Columns {
		b.WriteString(" " + c.Name + "=" + render(c.Value, 0))
		if c.Told != nil {
			b.WriteString("?")
		}
	}
	if s.RenamedTo != "" {
		b.WriteString(" now " + s.RenamedTo)
	}
	if s.RenamedFrom != "" {
		b.WriteString(" was " + s.RenamedFrom)
	}
	return b.String()
}

func order(id string, e audit.Entry) audit.Entry { return resource(e, "order", id) }

func TestState(t *testing.T) {
	const now = -1
	type want struct {
		id string
		at int
		is string
	}
	tests := []struct {
		name    string
		entries []audit.Entry
		want    []want
	}{
		{"from creation to deletion", []audit.Entry{
			shopify(order("7", at("insert", "create", "", `{"id":7}`))),
			customer(order("1", at("insert", "create", "", `{"id":1,"status":"new","total":"9.90","note":null,"paid":false}`))),
			alice(order("1", at("update", "update", `{"id":1,"status":"new","paid":false}`, `{"id":1,"status":"paid","paid":true}`, "paid", "status"))),
			alice(order("1", at("delete", "delete", `{"id":1,"status":"paid","total":"9.90","note":null,"paid":true}`, ""))),
			shopify(order("1", at("insert", "create", "", `{"id":1,"status":"again"}`))),
		}, []want{
			{"1", 0, "not yet"},
			{"1", 1, `exists* id=1 status="new" total=9.90 note=nothing paid=false`},
			{"1", 2, `exists* id=1 status="paid" total=9.90 note=nothing paid=true`},
			{"1", 3, `deleted* id=1 status="paid" total=9.90 note=nothing paid=true`},
			{"1", 4, `exists* id=1 status="again"`},
			{"1", now, `exists* id=1 status="again"`},
			{"2", now, "unheard"},
		}},
		{"TRUNCATE of this table and of another", []audit.Entry{
			shopify(order("1", at("insert", "create", "", `{"id":1}`))),
			func() audit.Entry {
				e := psql(order("", at("truncate", "truncate", "", "")))
				e.TableName = audit.T("orders_2025")
				return e
			}(),
			psql(order("", at("truncate", "truncate", "", ""))),
			shopify(order("1", at("insert", "create", "", `{"id":1,"n":2}`))),
		}, []want{{"1", 0, "exists* id=1"}, {"1", 1, "exists* id=1"}, {"1", 2, "truncated* id=1"}, {"1", 3, "exists* id=1 n=2"}}},
		{"a changed key", []audit.Entry{
			shopify(order("1", at("insert", "create", "", `{"id":1,"a":"x"}`))),
			shopify(order("1", at("update", "update", `{"id":1,"a":"x"}`, `{"id":1,"a":"y"}`, "a"))),
			alice(order("2", at("update", "update", `{"id":1}`, `{"id":2}`, "id"))),
			alice(order("2", at("update", "update", `{"id":2,"a":"y"}`, `{"id":2,"a":"z"}`, "a"))),
			alice(order("3", at("update", "update", `{"id":2,"a":"z"}`, `{"id":3,"a":"w"}`, "a", "id"))),
		}, []want{
			{"1", 1, `exists* id=1 a="y"`}, {"1", 2, `renamed* id=1 a="y" now 2`}, {"1", now, `renamed* id=1 a="y" now 2`},
			{"2", 1, "not yet was 1"}, {"2", 2, `exists* id=2 a="y" was 1`}, {"2", 3, `exists* id=2 a="z" was 1`}, {"2", 4, `renamed* id=2 a="z" now 3 was 1`},
			{"3", 4, `exists* id=3 a="w" was 2`},
		}},
		{"a changed key with replica identity default", []audit.Entry{
			shopify(order("1", at("insert", "create", "", `{"id":1,"a":"x","body":"long"}`))),
			shopify(order("1", at("update", "update", "", `{"id":1,"a":"y"}`))),
			shopify(order("2", at("update", "update", `{"id":1}`, `{"id":2,"a":"z"}`))),
		}, []want{{"1", 1, `exists* id=1 a="y" body="long"`}, {"1", 2, `renamed* id=1 a="y" body="long" now 2`}, {"2", 2, `exists* id=2 a="z" body="long" was 1`}}},
		{"older than the trail: old values of later entries tell", []audit.Entry{
			shopify(order("7", at("insert", "create", "", `{"id":7,"a":"x","b":"y","c":"z","body":"t"}`))),
			shopify(order("1", at("update", "update", `{"id":1,"a":"0"}`, `{"id":1,"a":"1"}`, "a"))),
			shopify(order("1", at("update", "update", `{"id":1,"a":"1","b":"0"}`, `{"id":1,"a":"2","b":"1"}`, "a", "b"))),
			shopify(order("1", at("delete", "delete", `{"id":1,"a":"2","b":"1","c":"0","body":null}`, ""))),
		}, []want{
			{"1", 0, `exists id=1? a=0? b=0? c=0? body=nothing?`},
			{"1", 1, `exists id=1 a=1 b=0? c=0? body=nothing?`},
			{"1", 2, `exists id=1 a=2 b=1 c=0? body=nothing?`},
			{"1", 3, `deleted id=1 a=2 b=1 c=0 body=nothing`},
		}},
		{"older than the trail: nobody tells", []audit.Entry{
			shopify(order("7", at("insert", "create", "", `{"id":7,"a":"x","b":"y"}`))),
			shopify(order("1", at("update", "update", "", `{"id":1,"a":"1"}`))),
		}, []want{{"1", 0, "exists id=unknown a=unknown b=unknown"}, {"1", 1, `exists id=1 a=1 b=unknown`}}},
		{"older than the trail, first heard of when its key changes", []audit.Entry{
			shopify(order("7", at("insert", "create", "", `{"id":7,"a":"x"}`))),
			shopify(order("7", at("update", "update", `{"id":7,"a":"x"}`, `{"id":7,"a":"y"}`, "a"))),
			alice(order("2", at("update", "update", `{"id":1}`, `{"id":2}`, "id"))),
		}, []want{{"1", 0, "exists id=1? a=unknown"}, {"1", 2, "renamed now 2"}, {"2", 2, "exists id=2 a=unknown was 1"}, {"2", 0, "not yet was 1"}}},
		{"composite key", []audit.Entry{
			shopify(order("a%2Fb/1", at("insert", "create", "", `{"sku":"a/b","line":1,"n":5}`))),
			shopify(order("a%2Fb/1", at("update", "update", `{"sku":"a/b","line":1,"n":5}`, `{"sku":"a/b","line":1,"n":6}`, "n"))),
			alice(order("a%2Fb/2", at("update", "update", `{"sku":"a/b","line":1}`, `{"sku":"a/b","line":2}`, "line"))),
		}, []want{{"a%2Fb/1", 1, `exists* sku="a/b" line=1 n=6`}, {"a%2Fb/1", 2, `renamed* sku="a/b" line=1 n=6 now a%2Fb/2`}, {"a%2Fb/2", 2, `exists* sku="a/b" line=2 n=6 was a%2Fb/1`}}},
		{"events about the row are not its values", []audit.Entry{
			shopify(order("1", at("insert", "create", "", `{"id":1}`))),
			func() audit.Entry {
				e := event(alice(at("event", "export", "", `{"id":"stolen"}`)))
				return order("1", e)
			}(),
		}, []want{{"1", 1, "exists* id=1"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBook(t)
			b.write(tt.entries...)
			for _, w := range tt.want {
				if got := short(b.ask(w.id, w.at)); got != w.is {
					t.Errorf("order %s after entry %d:\n got %s\nwant %s", w.id, w.at, got, w.is)
				}
			}
		})
	}
}

// A commit time may step back; the state is that of a prefix of the chain.
func TestStateIsAPlaceInTheChain(t *testing.T) {
	b := newBook(t)
	for i, us := range []int64{0, 5_000_000, 3_000_000, 9_000_000} {
		e := shopify(order("1", at("update", "update", `{"id":1,"n":`+string(rune('0'+i))+`}`, `{"id":1,"n":`+string(rune('1'+i))+`}`, "n")))
		e.Stream, e.Sequence, e.Timestamp = "shop", uint64(i), began+us
		b.columns.Append(&e)
	}
	b.send()
	if got := short(b.ask("1", 4)); got != "exists id=1 n=3" {
		t.Errorf("4 seconds in: got %s, want the row as entry 2 left it", got)
	}
	if s := b.ask("1", -1); s.Sequence != 3 {
		t.Errorf("the present: got entry %d, want 3", s.Sequence)
	}
}

func TestStateRender(t *testing.T) {
	b := newBook(t)
	b.write(
		shopify(order("7", at("insert", "create", "", `{"id":7,"status":"new","total":"1.00","note":null,"body":"x"}`))),
		alice(order("1", at("update", "refund", `{"id":1,"status":"paid"}`, `{"id":1,"status":"refunded"}`, "status"))),
		alice(order("1", at("update", "update", `{"id":1,"note":null}`, `{"id":1,"note":"n"}`, "note"))),
		psql(order("7", at("delete", "delete", `{"id":7,"status":"new","total":"1.00","note":null,"body":"x"}`, ""))),
		alice(order("2", at("update", "update", `{"id":1}`, `{"id":2}`, "id"))),
		psql(order("", at("truncate", "truncate", "", ""))),
	)
	tests := []struct {
		state *State
		want  string
	}{
		{b.ask("1", 1), `order 1 existed at 2026-11-23 08:41:08.000000 UTC.

  id      1           since 2026-11-23 08:41:08.000000 UTC  #1  Alice Chen (alice@shop.example, finance)
  status  "refunded"  since 2026-11-23 08:41:08.000000 UTC  #1  Alice Chen (alice@shop.example, finance)
  total   unknown     no entry tells
  note    nothing     since before the trail saw it; told by the old value in #2
  body    unknown     no entry tells

The trail did not see this row being created: its table may have further columns.
`},
		{b.ask("7", 3), `order 7 was not there at 2026-11-23 08:41:10.000000 UTC: it was deleted on 2026-11-23 08:41:10.000000 UTC by somebody unattributed (database user postgres, psql) (entry 3). It last was:

  id      7        since 2026-11-23 08:41:07.000000 UTC  #0  api:shopify-connector (api)
  status  "new"    since 2026-11-23 08:41:07.000000 UTC  #0  api:shopify-connector (api)
  total   1.00     since 2026-11-23 08:41:07.000000 UTC  #0  api:shopify-connector (api)
  note    nothing  since 2026-11-23 08:41:07.000000 UTC  #0  api:shopify-connector (api)
  body    "x"      since 2026-11-23 08:41:07.000000 UTC  #0  api:shopify-connector (api)
`},
		{b.ask("9", 2), "No entry tells of order 9; it may never have been there, or be unchanged since before the trail.\n"},
		{b.ask("9", -1), "No entry tells of order 9; it may never have been there, or be unchanged since before the trail.\n"},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.state.Render(Style{})); diff != "" {
			t.Errorf("state differs (-want +got):\n%s", diff)
		}
	}
	for state, want := range map[*State]string{
		b.ask("1", 4):  "order 1 was not there at 2026-11-23 08:41:11.000000 UTC: its key was changed on 2026-11-23 08:41:11.000000 UTC by Alice Chen (alice@shop.example, finance) (entry 4); it is order 2 since. It last was:",
		b.ask("2", 3):  "order 2 was not there yet at 2026-11-23 08:41:10.000000 UTC: order 1 was given this key on 2026-11-23 08:41:11.000000 UTC by Alice Chen (alice@shop.example, finance) (entry 4).",
		b.ask("2", -1): "order 2 was not there now: its whole table was emptied on 2026-11-23 08:41:12.000000 UTC by somebody unattributed (database user postgres, psql) (entry 5). It last was:",
		b.ask("7", 0):  "order 7 existed at 2026-11-23 08:41:07.000000 UTC, created on 2026-11-23 08:41:07.000000 UTC by api:shopify-connector (api) (entry 0).",
	} {
		if got, _, _ := strings.Cut(state.Render(Style{}), "\n"); got != want {
			t.Errorf("headline:\n got %s\nwant %s", got, want)
		}
	}
	before, err := b.State(t.Context(), StateQuery{Stream: "shop", ResourceType: "order", ResourceID: "1", At: second(-5)})
	if err != nil || before.Render(Style{}) != "The trail had not begun at 2026-11-23 08:41:02.000000 UTC, so nothing is known of order 1.\n" {
		t.Errorf("before the trail: got %v, %q", err, before.Render(Style{}))
	}
}

func TestStateJSON(t *testing.T) {
	s := &State{
		Stream: "shop", ResourceType: "order", ResourceID: "1\x1b", Schema: "public", Table: "orders", At: second(1), Sequence: 1, Recorded: true,
		Standing: Exists, Created: &Mark{0, second(0), "create", "alice"}, Changed: &Mark{1, second(1), "update", "alice"},
		Columns: []StateColumn{
			{Name: "id", Value: Value{Number, "9007199254740993"}}, {Name: "z", Value: Value{String, "a\u202eb\xff"}, Set: &Mark{Sequence: 1}},
			{Name: "a", Value: Value{Bool, "true"}, Told: &Mark{Sequence: 5}}, {Name: "n", Value: Value{Kind: Null}}, {Name: "body"},
		},
	}
	got, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"stream":"shop","resource_type":"order","resource_id":"1\u001b","schema_name":"public","table_name":"orders",` +
		`"at":"2026-11-23T08:41:08.000000Z","sequence":1,"standing":"exists","complete":false,` +
		`"values":{"id":9007199254740993,"z":"a\u202eb\udcff","a":true,"n":null},"unknown":["body"],` +
		`"since":{"z":1},"told_by_later_entry":{"a":5},` +
		`"created":{"sequence":0,"timestamp":"2026-11-23T08:41:07.000000Z","action":"create","actor":"alice"},` +
		`"changed":{"sequence":1,"timestamp":"2026-11-23T08:41:08.000000Z","action":"update","actor":"alice"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON differs (-want +got):\n%s", diff)
	}
}

func TestStateErrors(t *testing.T) {
	_, err := (&Trail{}).State(t.Context(), StateQuery{ResourceType: "order", At: time.Now()})
	if err == nil || audit.Hint(err) == "" {
		t.Errorf("got %v, want an error with a hint", err)
	}
}
