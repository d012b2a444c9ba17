package trail

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// The people and machines of the shop, each as enrich writes them.

func alice(e audit.Entry) audit.Entry {
	e.ActorID, e.ActorEmail, e.ActorRole, e.ActorType = audit.T("Alice Chen"), audit.T("alice@shop.example"), audit.T("finance"), audit.T("human")
	e.IPAddress, e.Source = audit.T("203.0.113.7"), audit.T("admin-panel")
	e.DBUser, e.ApplicationName = audit.T("shop_admin"), audit.T("rails")
	e.Attribution = audit.T(`{"actor_id":"session","actor_email":"session","actor_role":"session","actor_type":"inferred","reason_code":"session","reason_note":"session","ip_address":"session","source":"rule:admin","observed":{"host":"10.0.0.5","pid":"4711"}}`)
	return e
}

func customer(e audit.Entry) audit.Entry {
	e.ActorID, e.ActorEmail, e.ActorRole, e.ActorType = audit.T("17"), audit.T("bob@mail.example"), audit.T("customer"), audit.T("human")
	e.IPAddress, e.GeoCity, e.GeoCountry, e.Source = audit.T("2001:db8::7"), audit.T("Berlin"), audit.T("DE"), audit.T("storefront")
	e.Attribution = audit.T(`{"actor_id":"comment"}`)
	return e
}

func shopify(e audit.Entry) audit.Entry {
	e.ActorID, e.ActorType = audit.T("api:shopify-connector"), audit.T("api")
	e.Source, e.ApplicationName = audit.T("shopify"), audit.T("connector")
	e.Attribution = audit.T(`{"actor_id":"rule:shopify","actor_type":"rule:shopify","source":"rule:shopify"}`)
	return e
}

func psql(e audit.Entry) audit.Entry {
	e.ActorID, e.ActorType = audit.T("db:postgres"), audit.T("unknown")
	e.DBUser, e.ApplicationName = audit.T("postgres"), audit.T("psql")
	e.Attribution = audit.T(`{"actor_id":"observed","actor_type":"none"}`)
	return e
}

func bypass(e audit.Entry) audit.Entry {
	e.ActorID, e.ActorType = audit.T("unknown"), audit.T("unknown")
	e.Attribution = audit.T(`{"actor_id":"none","actor_type":"none","context":"bypassed"}`)
	return e
}

// note adds members to the attribution.
func note(e audit.Entry, members string) audit.Entry {
	text := strings.TrimSuffix(e.Attribution.String(), "}")
	if text == "" || text == "{" {
		text = "{"
	} else {
		text += ","
	}
	e.Attribution = audit.T(text + members + "}")
	return e
}

func reason(e audit.Entry, code, why string) audit.Entry {
	e.ReasonCode = audit.T(code)
	if why != "" {
		e.ReasonNote = audit.T(why)
	}
	return e
}

// at is an entry of order 1234, or of another resource.
func at(operation, action, old, now string, changed ...string) audit.Entry {
	e := audit.Entry{
		Stream: "shop", Sequence: 4711, Timestamp: 1795423267123456, Changed: changed,
		ID:           audit.EntryID("shop", 1795423267123456, audit.Position{CommitLSN: 0x16b3748, Ordinal: 4}),
		ResourceType: audit.T("order"), ResourceID: audit.T("1234"), Action: audit.T(action), Operation: audit.T(operation),
		SchemaName: audit.T("public"), TableName: audit.T("orders"), XID: 812, CommitLSN: 0x16b3748, Ordinal: 4,
	}
	if old != "" {
		e.OldValues = audit.T(old)
	}
	if now != "" {
		e.NewValues = audit.T(now)
	}
	return e
}

func resource(e audit.Entry, kind, id string) audit.Entry {
	e.ResourceType, e.ResourceID = audit.T(kind), nil
	if id != "" {
		e.ResourceID = audit.T(id)
	}
	return e
}

// event is an entry that no table stands behind.
func event(e audit.Entry) audit.Entry {
	e.SchemaName, e.TableName, e.ResourceType, e.ResourceID = nil, nil, nil, nil
	e.Operation = audit.T("event")
	return e
}

func refused(e audit.Entry, action string) audit.Entry {
	e.SchemaName, e.TableName, e.Action, e.Operation = nil, nil, audit.T("refused"), audit.T("refused")
	return note(e, `"refused_action":"`+action+`"`)
}

const moment = "2026-11-23 08:41:07.123456 UTC  "

func TestSentence(t *testing.T) {
	refund := at("update", "refund",
		`{"id":1234,"status":"paid","refunded_amount":"0.00"}`,
		`{"id":1234,"status":"refunded","refunded_amount":"249.90"}`, "refunded_amount", "status")
	created := at("insert", "create", "",
		`{"id":1234,"customer_id":17,"status":"new","total":"249.90","currency":"EUR","gift":false,"note":null,"placed_at":"2026-11-23 08:41:07.1+00","address":{"zip":"10115"},"channel":"web"}`)
	long := strings.Repeat("a very long note about this order, ", 20)

	tests := []struct {
		name  string
		entry audit.Entry
		style Style
		want  string
	}{
		{"refund by a person", reason(alice(refund), "damaged_in_transit", "box crushed, photos in ticket 5521"), Style{},
			`Alice Chen (alice@shop.example, finance) refunded order 1234: status "paid" → "refunded", refunded_amount 0.00 → 249.90, from 203.0.113.7 via admin-panel. Reason: damaged_in_transit, "box crushed, photos in ticket 5521".`},
		{"no reason", alice(refund), Style{},
			`Alice Chen (alice@shop.example, finance) refunded order 1234: status "paid" → "refunded", refunded_amount 0.00 → 249.90, from 203.0.113.7 via admin-panel, no reason given.`},
		{"create by a customer with a number", customer(created), Style{},
			`bob@mail.example (id 17, customer) created order 1234: customer_id 17, status "new", total 249.90, currency "EUR", gift false, placed_at 2026-11-23 08:41:07.1+00 and 2 more fields, from 2001:db8::7 (Berlin, DE) via storefront, no reason given.`},
		{"create by a machine", shopify(created), Style{Fields: 2},
			`api:shopify-connector (api) created order 1234: customer_id 17, status "new" and 6 more fields, via shopify, no reason given.`},
		{"delete in psql", psql(at("delete", "delete", `{"id":1234,"status":"paid","note":null}`, "")), Style{},
			`somebody unattributed (database user postgres, psql) deleted order 1234, which had status "paid", no reason given.`},
		{"triggers bypassed", bypass(refund), Style{Fields: 1},
			`somebody unattributed (no context was recorded) refunded order 1234: status "paid" → "refunded", refunded_amount 0.00 → 249.90, no reason given.`},
		{"truncate", note(psql(resource(at("truncate", "truncate", "", ""), "order", "")), `"truncate":"cascade, restart identity"`), Style{},
			`somebody unattributed (database user postgres, psql) emptied the whole table orders (TRUNCATE, cascade, restart identity; the log does not list the rows it held), no reason given.`},
		{"NULL and empty text", alice(at("update", "update", `{"id":1234,"note":null,"tag":""}`, `{"id":1234,"note":"","tag":null}`, "note", "tag")), Style{},
			`Alice Chen (alice@shop.example, finance) changed order 1234: note nothing → "", tag "" → nothing, from 203.0.113.7 via admin-panel, no reason given.`},
		{"replica identity default", note(shopify(at("update", "update", "", `{"id":1234,"status":"paid","total":"249.90"}`)), `"old_values":"unknown: replica identity default","unknown_values":["body"]`), Style{},
			`api:shopify-connector (api) changed order 1234, which now has status "paid", total 249.90; previous values were not recorded: replica identity default, via shopify, no reason given.`},
		{"key change with replica identity default", note(shopify(at("update", "update", `{"id":1233}`, `{"id":1234,"status":"paid"}`)), `"old_values":"unknown: replica identity default"`), Style{},
			`api:shopify-connector (api) changed order 1234: id 1233 → 1234, which now has status "paid"; previous values were not recorded: replica identity default, via shopify, no reason given.`},
		{"delete with replica identity default", note(shopify(at("delete", "delete", `{"id":1234}`, "")), `"old_values":"unknown: replica identity default"`), Style{},
			`api:shopify-connector (api) deleted order 1234; its other values were not recorded: replica identity default, via shopify, no reason given.`},
		{"nothing changed", alice(at("update", "update", `{"id":1234}`, `{"id":1234}`)), Style{},
			`Alice Chen (alice@shop.example, finance) changed order 1234 without changing any value, from 203.0.113.7 via admin-panel, no reason given.`},
		{"bulk", psql(resource(at("update", "bulk_update", `{"sku":"A/1","price":"10.00"}`, `{"sku":"A/1","price":"9.00"}`, "price"), "product", "A/1")), Style{},
			`somebody unattributed (database user postgres, psql) changed product A/1 as part of a bulk update: price 10.00 → 9.00, no reason given.`},
		{"by a trigger", note(shopify(at("update", "adjust", `{"id":9,"stock":5}`, `{"id":9,"stock":4}`, "stock")), `"observed":{"trigger_depth":"1"}`), Style{},
			`api:shopify-connector (api) adjusted order 1234: stock 5 → 4 (done by a trigger), via shopify, no reason given.`},
		{"action of the operator's own", shopify(at("update", "chargeback", `{"id":1234,"status":"paid"}`, `{"id":1234,"status":"disputed"}`, "status")), Style{},
			`api:shopify-connector (api) performed chargeback on order 1234: status "paid" → "disputed", via shopify, no reason given.`},
		{"tokens instead of personal values", func() audit.Entry {
			e := customer(at("update", "update", `{"id":1234,"email":"pii:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}`, `{"id":1234,"email":null}`, "email"))
			e.ActorEmail = audit.T("pii:ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100")
			return e
		}(), Style{},
			`pii:ffeeddcc… (id 17, customer) changed order 1234: email pii:00112233… → nothing, from 2001:db8::7 (Berlin, DE) via storefront, no reason given.`},
		{"long texts that differ at their end", alice(at("update", "update", `{"id":1234,"note":"`+long+`x"}`, `{"id":1234,"note":"`+long+`y"}`, "note")), Style{},
			`Alice Chen (alice@shop.example, finance) changed order 1234: note "…this order, x" → "…this order, y", from 203.0.113.7 via admin-panel, no reason given.`},
		{"long text", alice(at("insert", "create", "", `{"id":1234,"note":"`+long+`"}`)), Style{Width: 20},
			`Alice Chen (alice@shop.example, finance) created order 1234: note "a very long note abo…", from 203.0.113.7 via admin-panel, no reason given.`},
		{"login that failed", event(resource(alice(at("event", "login_failed", "", `{"attempts":3}`)), "", "")), Style{},
			`Alice Chen (alice@shop.example, finance) failed to log in: attempts 3, from 203.0.113.7 via admin-panel.`},
		{"event with details that are no object", event(shopify(at("event", "export", "", `["orders","refunds"]`))), Style{},
			`api:shopify-connector (api) exported something: details ["orders","refunds"], via shopify.`},
		{"refused by a guard", refused(alice(at("refused", "refused", "", `{"guard":"refund needs a reason"}`)), "refund"), Style{},
			`Alice Chen (alice@shop.example, finance) was refused when trying to refund order 1234: guard "refund needs a reason", from 203.0.113.7 via admin-panel, no reason given.`},
		{"refused, with what was missing", refused(alice(at("refused", "refused", "", `{"guard":"large refund","operation":"insert","missing":["reason_code","reason_note"],"row":{"order_id":"7","amount":"249.90"}}`)), "refund"), Style{},
			`Alice Chen (alice@shop.example, finance) was refused when trying to refund order 1234: guard "large refund" asks for reason_code, reason_note; order_id 7, amount 249.90, from 203.0.113.7 via admin-panel, no reason given.`},
		{"refused, by who knows what", refused(alice(at("refused", "refused", "", `{"guard":5,"missing":{"a":"\u001b"},"row":"x"}`)), "refund"), Style{},
			`Alice Chen (alice@shop.example, finance) was refused when trying to refund order 1234: guard 5, from 203.0.113.7 via admin-panel, no reason given.`},
		{"row without key", psql(resource(at("insert", "create", "", `{"line":"x"}`), "import_log", "")), Style{},
			`somebody unattributed (database user postgres, psql) created a row without key of import_log: line "x", no reason given.`},
		{"text that plays a sentence", func() audit.Entry {
			e := psql(at("update", "update", `{"id":1234,"note":"a"}`, `{"id":1234,"note":"b\" → \"c\", total 1 → 2\u001b[2J\u202e"}`, "note"))
			e.ResourceID = audit.T("1234: status paid → refunded")
			e.ApplicationName = audit.T("psql), Alice")
			return e
		}(), Style{},
			`somebody unattributed (database user postgres, "psql), Alice") changed order "1234: status paid → refunded": note "a" → "b\" → \"c\", total 1 → 2\u001b[2J\u202e", no reason given.`},
		{"stream", shopify(refund), Style{Stream: true, Fields: 1},
			`[shop] api:shopify-connector (api) refunded order 1234: status "paid" → "refunded", refunded_amount 0.00 → 249.90, via shopify, no reason given.`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(moment+tt.want, Sentence(&tt.entry, tt.style)); diff != "" {
				t.Errorf("sentence differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	e := reason(alice(at("update", "refund", `{"id":1234,"status":"paid"}`, `{"id":1234,"status":"refunded"}`, "status")), "fraud", "")
	e.RequestID = audit.T("7f3a")
	want := moment + `Alice Chen (alice@shop.example, finance) refunded order 1234: status "paid" → "refunded", from 203.0.113.7 via admin-panel. Reason: fraud.
    Who says so: the application, in its session variables (actor_id, actor_email, actor_role, reason_code, reason_note, ip_address); inferred from the form of the id (actor_type); the configured rule admin (source)
    Note: observed: {"host":"10.0.0.5","pid":"4711"}
    Came with: request 7f3a, database user shop_admin, application rails
    On record as: shop #4711, entry ` + e.ID.String() + `
    In the database: update of public.orders, transaction 812, committed at 0/16B3748#4`
	if diff := cmp.Diff(want, Sentence(&e, Style{Explain: true})); diff != "" {
		t.Errorf("explanation differs (-want +got):\n%s", diff)
	}
}

// FuzzSentence looks for a text that reaches the terminal: whatever an entry
// holds, its sentence is one line of printable characters.
func FuzzSentence(f *testing.F) {
	f.Add("\x1b]0;owned\x07", "\u202egnp", "\x9b31m", "update", []byte(`{"a":"\u009b1m"}`))
	f.Add("a\r\nb", "\xff\xfe", "\u2028", "delete", []byte(`{"\u001b[A":"x","b":[{}]}`))
	f.Add("pii:", `"`, `\`, "event", []byte(`["x",{"y":"\u001b"}]`))
	f.Fuzz(func(t *testing.T, who, what, why, operation string, values []byte) {
		e := audit.Entry{
			Stream: who, ActorID: audit.T(who), ActorEmail: audit.T(what), ActorRole: audit.T(why), ActorType: audit.T(what),
			ResourceType: audit.T(what), ResourceID: audit.T(who), Action: audit.T(what), Operation: audit.T(operation),
			OldValues: values, NewValues: values, Changed: []string{who, "a"}, Attribution: values,
			Source: audit.T(why), IPAddress: audit.T(who), GeoCity: audit.T(what), ReasonCode: audit.T(why), ReasonNote: audit.T(what),
			SchemaName: audit.T(who), TableName: audit.T(why), UserAgent: audit.T(who), RequestID: audit.T(what),
		}
		one := Sentence(&e, Style{Stream: true, Fields: -1, Width: -1})
		for _, line := range append(strings.Split(Sentence(&e, Style{Explain: true}), "\n"), one) {
			for _, r := range line {
				if !printable(r) {
					t.Fatalf("%U reached the terminal in %q", r, line)
				}
			}
		}
		if !utf8.ValidString(one) {
			t.Fatalf("not UTF-8: %q", one)
		}
		// The same with colours differs by nothing but the colours.
		colored := Sentence(&e, Style{Stream: true, Fields: -1, Width: -1, Color: true})
		for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"} {
			colored = strings.ReplaceAll(colored, code, "")
		}
		if colored != one {
			t.Fatalf("colours changed the words:\n%s\n%s", one, colored)
		}
	})
}
