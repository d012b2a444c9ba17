package trail

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// told is an entry that says something about a table, not about a row.
func told(action, resourceType, resourceID string) audit.Entry {
	e := audit.Entry{Operation: audit.T("event"), Action: audit.T(action), ResourceType: audit.T(resourceType), ResourceID: audit.T(resourceID)}
	if schema, table, ok := strings.Cut(resourceID, "."); ok && resourceType == baselineResource {
		e.SchemaName, e.TableName = audit.T(schema), audit.T(table)
	}
	return e
}

// of makes an entry of public.t in transaction tx.
func of(tx int, c change) audit.Entry {
	e := at(c.op, c.op, c.old, c.now)
	e.TableName, e.CommitLSN = audit.T("t"), audit.LSN(tx)
	return e
}

func TestBreaksAndWhatExplainsThem(t *testing.T) {
	insert := func(tx int, row string) audit.Entry { return of(tx, change{op: "insert", now: row}) }
	update := func(tx int, old, now string) audit.Entry { return of(tx, change{op: "update", old: old, now: now}) }
	gap := told("gap", "pgwitness.stream", "shop")
	based := told("baseline_completed", "pgwitness.baseline", "public.t")
	ddl := func(details string) audit.Entry {
		return audit.Entry{Operation: audit.T("ddl"), Action: audit.T("ddl"), NewValues: audit.T(details)}
	}
	for _, c := range []struct {
		name      string
		entries   []audit.Entry
		kinds     map[BreakKind]int
		explained int
	}{
		{"hidden update", []audit.Entry{insert(1, `{"id":1,"a":1}`), update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Discontinuous: 1}, 0},
		{"hidden update in a declared gap", []audit.Entry{insert(1, `{"id":1,"a":1}`), gap, update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, nil, 1},
		{"hidden update behind a declared gap", []audit.Entry{insert(1, `{"id":1,"a":1}`), gap, update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`), update(3, `{"id":1,"a":4}`, `{"id":1,"a":5}`)},
			map[BreakKind]int{Discontinuous: 1}, 1},
		{"a column untold since the gap", []audit.Entry{insert(1, `{"id":1,"a":1,"b":1}`), gap, update(2, `{"id":1,"a":1}`, `{"id":1,"a":3}`), update(3, `{"id":1,"b":2}`, `{"id":1,"b":5}`)}, nil, 0},
		{"somebody else's event called gap", []audit.Entry{insert(1, `{"id":1,"a":1}`), told("gap", "order", "7"), update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Discontinuous: 1}, 0},
		{"older than the trail", []audit.Entry{update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Unseen: 1}, 0},
		{"hidden insert behind the baseline", []audit.Entry{based, update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Uninserted: 1}, 0},
		{"the baseline of another table", []audit.Entry{told("baseline_completed", "pgwitness.baseline", "public.u"), update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Unseen: 1}, 0},
		{"an insert in a gap behind the baseline", []audit.Entry{based, gap, update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Unseen: 1}, 0},
		{"hidden insert behind a TRUNCATE", []audit.Entry{of(1, change{op: "truncate"}), update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Uninserted: 1}, 0},
		{"hidden delete", []audit.Entry{insert(1, `{"id":1,"a":1}`), insert(2, `{"id":1,"a":2}`), insert(3, `{"id":2,"a":2}`)}, map[BreakKind]int{Undeleted: 1}, 0},
		{"hidden delete at the end", []audit.Entry{insert(1, `{"id":1,"a":1}`), insert(2, `{"id":1,"a":2}`)}, map[BreakKind]int{Undeleted: 1}, 0},
		{"hidden delete in a gap", []audit.Entry{insert(1, `{"id":1,"a":1}`), gap, insert(2, `{"id":1,"a":2}`)}, nil, 1},
		{"a key that is there twice within a transaction", []audit.Entry{insert(1, `{"id":1,"a":1}`), insert(2, `{"id":1,"a":2}`), of(2, change{op: "delete", old: `{"id":1,"a":1}`})}, nil, 0},
		{"baseline of a row that was seen", []audit.Entry{insert(1, `{"id":1,"a":1}`), of(2, change{op: "baseline", now: `{"id":1,"a":1}`})}, nil, 0},
		{"baseline shows a hidden update", []audit.Entry{insert(1, `{"id":1,"a":1}`), of(2, change{op: "baseline", now: `{"id":1,"a":9}`})}, map[BreakKind]int{Discontinuous: 1}, 0},
		{"bigint became text", []audit.Entry{insert(1, `{"id":1,"a":1}`), update(2, `{"id":1,"a":"1"}`, `{"id":1,"a":"x"}`)}, nil, 0},
		{"a column became secret", []audit.Entry{insert(1, `{"id":1,"a":"x"}`), update(2, `{"id":1,"a":["secret"]}`, `{"id":1,"a":["secret"]}`)}, nil, 0},
		{"NULL is no empty text", []audit.Entry{insert(1, `{"id":1,"a":null}`), update(2, `{"id":1,"a":""}`, `{"id":1,"a":"x"}`)}, map[BreakKind]int{Discontinuous: 1}, 0},
		{"a column dropped, another of its name added", []audit.Entry{insert(1, `{"id":1,"a":1}`), ddl(`{"command":"ALTER TABLE","table":["public","t"],"dropped_columns":["a"]}`),
			ddl(`{"command":"ALTER TABLE","table":["public","t"],"added_columns":{"a":5}}`), update(2, `{"id":1,"a":5}`, `{"id":1,"a":6}`)}, nil, 0},
		{"hidden change of an added column", []audit.Entry{insert(1, `{"id":1}`), ddl(`{"command":"ALTER TABLE","table":["public","t"],"added_columns":{"a":5}}`), update(2, `{"id":1,"a":4}`, `{"id":1,"a":6}`)},
			map[BreakKind]int{Discontinuous: 1}, 0},
		{"columns swap their names", []audit.Entry{insert(1, `{"id":1,"a":1,"b":2}`), ddl(`{"command":"ALTER TABLE","table":["public","t"],"renamed_columns":{"a":"b","b":"a"}}`), update(2, `{"id":1,"a":2,"b":1}`, `{"id":1,"a":3,"b":3}`)}, nil, 0},
		{"hidden change of a renamed column", []audit.Entry{insert(1, `{"id":1,"a":1}`), ddl(`{"command":"ALTER TABLE","table":["public","t"],"renamed_columns":{"a":"b"}}`), update(2, `{"id":1,"b":2}`, `{"id":1,"b":3}`)},
			map[BreakKind]int{Discontinuous: 1}, 0},
		{"a column rewritten", []audit.Entry{insert(1, `{"id":1,"a":"1.00","b":1}`), ddl(`{"command":"ALTER TABLE","table":["public","t"],"unknown_values":["a"]}`),
			update(2, `{"id":1,"a":"1.0000"}`, `{"id":1,"a":"2.0000"}`), update(3, `{"id":1,"b":2}`, `{"id":1,"b":3}`)}, map[BreakKind]int{Discontinuous: 1}, 1},
		{"the key rewritten: another row may have it", []audit.Entry{insert(1, `{"id":1,"a":1}`), insert(2, `{"id":2,"a":2}`), ddl(`{"command":"ALTER TABLE","table":["public","t"],"unknown_values":["id"]}`),
			update(3, `{"id":2,"a":1}`, `{"id":2,"a":3}`), insert(4, `{"id":1,"a":7}`)}, nil, 2},
		{"out of the log for a while", []audit.Entry{insert(1, `{"id":1,"a":1}`), ddl(`{"command":"ALTER TABLE","table":["public","t"],"persistence":"logged"}`), update(2, `{"id":1,"a":5}`, `{"id":1,"a":6}`)}, nil, 1},
		{"of another table", []audit.Entry{insert(1, `{"id":1,"a":1}`), ddl(`{"command":"ALTER TABLE","table":["public","u"],"unknown_values":["a"]}`), update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Discontinuous: 1}, 0},
		{"dropped and created again", []audit.Entry{insert(1, `{"id":1,"a":1}`), ddl(`{"command":"DROP TABLE","type":"table","object":"public.t","dropped":true}`),
			ddl(`{"command":"CREATE TABLE","type":"table","object":"public.t","followed":["publication"]}`), insert(2, `{"id":1,"a":2}`), update(3, `{"id":2,"a":2}`, `{"id":2,"a":3}`)}, map[BreakKind]int{Uninserted: 1}, 0},
		{"another table took the name", []audit.Entry{insert(1, `{"id":1,"a":1}`), ddl(`{"command":"ALTER TABLE","table":["public","old"],"renamed_from":["public","t"]}`),
			ddl(`{"command":"ALTER TABLE","table":["public","t"],"renamed_from":["public","new"]}`), update(2, `{"id":1,"a":2}`, `{"id":1,"a":3}`)}, map[BreakKind]int{Unseen: 1}, 0},
	} {
		f := NewFold("public", "t", []string{"id"})
		f.unique = true
		for i := range c.entries {
			c.entries[i].Sequence = uint64(i)
			if err := f.Add(&c.entries[i]); err != nil {
				t.Fatal(err)
			}
		}
		f.End()
		if got := f.Breaks(); got.Explained != c.explained || !cmp.Equal(got.Kinds, c.kinds) {
			t.Errorf("%s: %v and %d explained, want %v and %d", c.name, got.Kinds, got.Explained, c.kinds, c.explained)
		}
	}
}

func TestLearnKey(t *testing.T) {
	for _, c := range []struct {
		name       string
		rows, ids  []string
		candidates [][]string
		want       []string
		ok         bool
	}{
		{"none", nil, nil, nil, nil, true},
		{"one column", []string{`{"a":1,"id":1}`, `{"a":1,"id":2}`}, []string{"1", "2"}, nil, []string{"id"}, true},
		{"as configured", []string{`{"a":1,"b":1}`}, []string{"1"}, [][]string{nil, {"b"}}, []string{"b"}, true},
		{"configured otherwise by now", []string{`{"a":1,"b":2}`}, []string{"1"}, [][]string{{"b"}}, []string{"a"}, true},
		{"two columns", []string{`{"sku":"a/b","shop":1}`, `{"sku":"c","shop":2}`}, []string{"1/a%2Fb", "2/c"}, nil, []string{"shop", "sku"}, true},
		{"one column with a slash", []string{`{"n":1,"path":"1/x"}`}, []string{"1/x"}, nil, []string{"path"}, true},
		{"equal values", []string{`{"a":1,"b":1}`, `{"a":2,"b":1}`}, []string{"1/1", "1/2"}, nil, []string{"b", "a"}, true},
		{"another key in between", []string{`{"a":1,"b":2}`, `{"a":1,"b":2}`}, []string{"1", "2"}, nil, nil, false},
	} {
		var s keySample
		for i, row := range c.rows {
			e := audit.Entry{NewValues: audit.T(row), ResourceID: audit.T(c.ids[i])}
			if err := s.add(&e); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := s.key(c.candidates); ok != c.ok || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// Rows come back from a file as they were, NULL apart from the empty text.
func TestScatteredRows(t *testing.T) {
	rows := [][][]byte{{[]byte("1"), nil, {}}, {[]byte("\x00\xff"), bytes.Repeat([]byte("x"), 100_000), nil}}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	for _, row := range rows {
		if err := writeRow(w, row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	whole := slices.Clone(b.Bytes())
	r := bufio.NewReader(&b)
	for _, want := range rows {
		got := make([][]byte, 3)
		if err := readRow(r, got); err != nil || !cmp.Equal(got, want) {
			t.Fatal(got, err)
		}
	}
	if err := readRow(r, make([][]byte, 3)); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last row: %v", err)
	}
	r = bufio.NewReader(bytes.NewReader(whole[:2]))
	if err := readRow(r, make([][]byte, 3)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("within a row: %v", err)
	}
}

// A row without resource_id is of a table without a key that had the name of one
// with a key. An empty text is a key, and looks the same.
func TestTableWithoutKeyHadTheName(t *testing.T) {
	for _, c := range []struct {
		id, row string
		want    error
	}{
		{"7", `{"a":7}`, nil},
		{"", `{"a":""}`, nil},
		{"", `{"a":7}`, ErrOtherKey},
		{"", `{"a":null}`, ErrOtherKey},
	} {
		f := NewFold("public", "t", []string{"a"})
		f.unique = true
		e := of(1, change{op: "insert", now: c.row})
		if e.ResourceID = nil; c.id != "" {
			e.ResourceID = audit.T(c.id)
		}
		if err := f.Add(&e); !errors.Is(err, c.want) {
			t.Errorf("resource_id %q, row %s: %v", c.id, c.row, err)
		}
	}
}
