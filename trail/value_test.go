package trail

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

func TestParseRow(t *testing.T) {
	text := `{"id":9007199254740993,"ok":true,"no":false,"none":null,"money":"250.00","empty":"","quote\"d":"a\\b\/\n\t\r\b\f\u00e9\ud83d\ude00",` +
		` "bytes":"\udcff\udc80","lone":"\ud800x","doc":{"a":[1,"]}"]}, "list":[]}`
	want := Row{
		{"id", Value{Number, "9007199254740993"}}, {"ok", Value{Bool, "true"}}, {"no", Value{Bool, "false"}}, {"none", Value{Kind: Null}},
		{"money", Value{String, "250.00"}}, {"empty", Value{String, ""}}, {`quote"d`, Value{String, "a\\b/\n\t\r\b\fé😀"}},
		{"bytes", Value{String, "\xff\x80"}}, {"lone", Value{String, "\ufffdx"}},
		{"doc", Value{JSON, `{"a":[1,"]}"]}`}}, {"list", Value{JSON, "[]"}},
	}
	got, err := ParseRow(audit.T(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("row differs (-want +got):\n%s", diff)
	}
	if row, err := ParseRow(nil); row != nil || err != nil {
		t.Errorf("NULL: got %v, %v", row, err)
	}
	if row, err := ParseRow(audit.T("{}")); row == nil || len(row) > 0 || err != nil {
		t.Errorf("empty object: got %v, %v", row, err)
	}
	for _, bad := range []string{"", "{", "[]", `"x"`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1}x`, `{"a":"`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\`,
		`{"a":"\ud800\u12"}`, `{"a":tru}`, `{a:1}`, `{"a":{"b":1}`} {
		if row, err := ParseRow(audit.T(bad)); err == nil {
			t.Errorf("%s: got %v, want an error", bad, row)
		}
	}
}

// FuzzParseRow compares with encoding/json: what both accept must be the same.
func FuzzParseRow(f *testing.F) {
	f.Add([]byte(`{"a":"\ud83d\ude00","b":-1.5e9,"c":[{"d":null}],"e":true}`))
	f.Add([]byte(`{"\u0061":"\udc80\ud800\ud800\udc00"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		row, err := ParseRow(text)
		var want map[string]any
		if json.Unmarshal(text, &want) != nil || want == nil || !utf8.Valid(text) {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for _, field := range row {
			if strings.ContainsRune(field.Name+field.Value.Text, utf8.RuneError) || !utf8.ValidString(field.Name+field.Value.Text) {
				return // lone surrogates: encoding/json knows no bytes that are not UTF-8
			}
		}
		got := make(map[string]any)
		for _, field := range row {
			got[field.Name] = decoded(t, field.Value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q differs (-want +got):\n%s", text, diff)
		}
	})
}

func decoded(t *testing.T, v Value) any {
	switch v.Kind {
	case Null:
		return nil
	case String:
		return v.Text
	}
	var out any
	if err := json.Unmarshal([]byte(v.Text), &out); err != nil {
		t.Fatalf("%q: %v", v.Text, err)
	}
	return out
}

func TestKeyText(t *testing.T) {
	row := Row{{"a", Value{Number, "12"}}, {"b", Value{String, "x/y%z"}}, {"c", Value{Bool, "true"}}}
	for want, columns := range map[string][]string{
		"12": {"a"}, "x/y%z": {"b"}, "12/x%2Fy%25z": {"a", "b"}, "t/12": {"c", "a"}, "": {"a", "missing"},
	} {
		if got := row.key(columns); got != want {
			t.Errorf("key of %v: got %q, want %q", columns, got, want)
		}
	}
	tests := []struct {
		id      string
		changed []string
		want    []string
	}{
		{"12", []string{"b", "c"}, []string{"a"}},
		{"12/x%2Fy%25z", []string{"c"}, []string{"a", "b"}},
		{"12/x%2Fy%25z", nil, []string{"a", "b"}},
		{"x/y%z", nil, []string{"b"}},
		{"t", nil, []string{"c"}},
		{"13", nil, nil},
		{"", nil, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, keyOf(row, tt.id, tt.changed)); diff != "" {
			t.Errorf("key columns of %q differ (-want +got):\n%s", tt.id, diff)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	e := reason(alice(at("update", "refund", "{\"id\":1234,\n \"price\":\"0.00\"}", `{"id":1234,"note":"\u001b[2J`+"\u009b\u202e\xff\U000e0041"+`"}`, "no\x1bte")), "fraud", "say \"hi\"\n")
	e.IPAddress, e.Salt, e.PrevHash, e.Hash = nil, audit.Salt{1}, audit.Hash{2}, audit.Hash{3}
	got := string(AppendJSON(nil, &e))
	const zeros = "00000000000000000000000000000000"
	want := `{"id":"` + e.ID.String() + `","stream":"shop","sequence":4711,"timestamp":"2026-11-23T08:41:07.123456Z",` +
		`"actor_id":"Alice Chen","actor_email":"alice@shop.example","actor_role":"finance","actor_type":"human",` +
		`"resource_type":"order","resource_id":"1234","action":"refund",` +
		`"old_values":{"id":1234,"price":"0.00"},"new_values":{"id":1234,"note":"\u001b[2J\u009b\u202e\udcff\udb40\udc41"},` +
		`"changed":["no\u001bte"],"source":"admin-panel","ip_address":null,"user_agent":null,` +
		`"geo_country":null,"geo_city":null,"geo_lat":null,"geo_lon":null,"reason_code":"fraud","reason_note":"say \"hi\"\u000a",` +
		`"attribution":` + e.Attribution.String() + `,"request_id":null,"trace_id":null,"api_key_id":null,` +
		`"db_user":"shop_admin","application_name":"rails","schema_name":"public","table_name":"orders","operation":"update",` +
		`"xid":812,"commit_lsn":"0/16B3748","ordinal":4,"salt":"01` + zeros[2:] + `",` +
		`"prev_hash":"02` + zeros[2:] + zeros + `","entry_hash":"03` + zeros[2:] + zeros + `"}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON differs (-want +got):\n%s", diff)
	}
}

// FuzzAppendJSON: whatever an entry holds, its line is JSON, printable, and
// tells the same values.
func FuzzAppendJSON(f *testing.F) {
	f.Add([]byte(`{"a":"\u009b`+"\u009b\x7f"+`"}`), "\x1b[2J\n")
	f.Add([]byte(`not json`), "\xff\u202e\U0001f600")
	f.Add([]byte(" [1 ,\n2]\t"), "")
	f.Fuzz(func(t *testing.T, values []byte, text string) {
		e := audit.Entry{Stream: text, OldValues: values, Attribution: values, ActorID: audit.T(text), Changed: []string{text}}
		line := AppendJSON(nil, &e)
		var got struct {
			OldValues any     `json:"old_values"`
			ActorID   *string `json:"actor_id"`
			Changed   []string
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, r := range string(line) {
			if !printable(r) {
				t.Fatalf("%U reached the terminal in %q", r, line)
			}
		}
		if utf8.ValidString(text) && (*got.ActorID != text || got.Changed[0] != text) {
			t.Fatalf("%q became %q", text, *got.ActorID)
		}
		var want any
		if utf8.Valid(values) && json.Unmarshal(values, &want) == nil {
			if diff := cmp.Diff(want, got.OldValues); diff != "" {
				t.Fatalf("values differ (-want +got):\n%s", diff)
			}
		}
	})
}
