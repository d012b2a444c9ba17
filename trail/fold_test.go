package trail

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgwitness/pgwitness/audit"
)

// change is an entry of public.t, in short.
type change struct {
	op, old, now string
	changed      string // column names, separated by spaces
}

func fold(t *testing.T, key string, changes ...change) *Fold {
	t.Helper()
	f := NewFold("public", "t", strings.Fields(key))
	for i, c := range changes {
		e := at(c.op, c.op, c.old, c.now, strings.Fields(c.changed)...)
		e.TableName, e.Sequence = audit.T("t"), uint64(i)
		if err := f.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// rowsOf lists the rows in a fixed order, as column=value.
func rowsOf(f *Fold) []string {
	var rows []string
	for key, row := range f.Rows() {
		var b strings.Builder
		b.WriteString(key + ":")
		for _, field := range row {
			fmt.Fprintf(&b, " %s=%s", field.Name, render(field.Value, 0))
		}
		rows = append(rows, b.String())
	}
	slices.Sort(rows)
	return rows
}

func TestFold(t *testing.T) {
	tests := []struct {
		name    string
		key     string
		changes []change
		rows    []string
		breaks  []Break
	}{
		{"insert, update, delete", "id", []change{
			{"insert", "", `{"id":1,"a":"x","b":null}`, ""},
			{"insert", "", `{"id":2,"a":"y","b":""}`, ""},
			{"update", `{"id":1,"a":"x"}`, `{"id":1,"a":null}`, "a"},
			{"delete", `{"id":2,"a":"y","b":""}`, "", ""},
		}, []string{`1: id=1 a=nothing b=nothing`}, nil},
		{"change of the key", "id", []change{
			{"insert", "", `{"id":1,"a":"x"}`, ""},
			{"update", `{"id":1}`, `{"id":2}`, "id"},
			{"update", `{"id":2,"a":"x"}`, `{"id":2,"a":"y"}`, "a"},
		}, []string{`2: id=2 a="y"`}, nil},
		{"two rows swap their keys", "id", []change{
			{"insert", "", `{"id":1,"a":"x"}`, ""},
			{"insert", "", `{"id":2,"a":"y"}`, ""},
			{"update", `{"id":1}`, `{"id":2}`, "id"},
			{"update", `{"id":2}`, `{"id":1}`, "id"},
		}, []string{`1: id=1 a="y"`, `2: id=2 a="x"`}, nil},
		{"all keys move up by one", "id", []change{
			{"insert", "", `{"id":1,"a":"x"}`, ""},
			{"insert", "", `{"id":2,"a":"y"}`, ""},
			{"insert", "", `{"id":3,"a":"z"}`, ""},
			{"update", `{"id":1}`, `{"id":2}`, "id"},
			{"update", `{"id":2}`, `{"id":3}`, "id"},
			{"update", `{"id":3}`, `{"id":4}`, "id"},
		}, []string{`2: id=2 a="x"`, `3: id=3 a="y"`, `4: id=4 a="z"`}, nil},
		{"insert before the delete, under a deferred constraint", "id", []change{
			{"insert", "", `{"id":1,"a":"x"}`, ""},
			{"insert", "", `{"id":1,"a":"y"}`, ""},
			{"delete", `{"id":1,"a":"x"}`, "", ""},
		}, []string{`1: id=1 a="y"`}, nil},
		{"the second of two rows of a key is deleted", "id", []change{
			{"insert", "", `{"id":1,"a":"x"}`, ""},
			{"insert", "", `{"id":1,"a":"y"}`, ""},
			{"delete", `{"id":1,"a":"y"}`, "", ""},
		}, []string{`1: id=1 a="x"`}, nil},
		{"replica identity default: new row whole, unchanged TOAST left out", "id", []change{
			{"insert", "", `{"id":1,"a":"x","body":"long"}`, ""},
			{"update", "", `{"id":1,"a":"y"}`, ""},
			{"update", `{"id":1}`, `{"id":5,"a":"z"}`, ""},
		}, []string{`5: id=5 a="z" body="long"`}, nil},
		{"key not in the new row, because it is unchanged TOAST", "id", []change{
			{"insert", "", `{"id":"k","a":"x"}`, ""},
			{"update", `{"id":"k"}`, `{"a":"y"}`, ""},
		}, []string{`k: id="k" a="y"`}, nil},
		{"TRUNCATE", "id", []change{
			{"insert", "", `{"id":1}`, ""},
			{"truncate", "", "", ""},
			{"insert", "", `{"id":1,"a":"new"}`, ""},
		}, []string{`1: id=1 a="new"`}, nil},
		{"composite key with slashes", "a b", []change{
			{"insert", "", `{"a":"x/y","b":"z","n":1}`, ""},
			{"insert", "", `{"a":"x","b":"y/z","n":2}`, ""},
			{"update", `{"a":"x","b":"y/z","n":2}`, `{"a":"x","b":"y/z","n":3}`, "n"},
		}, []string{`x%2Fy/z: a="x/y" b="z" n=1`, `x/y%2Fz: a="x" b="y/z" n=3`}, nil},
		{"columns come and go", "id", []change{
			{"insert", "", `{"id":1,"old":"x"}`, ""},
			{"insert", "", `{"id":2,"new":"y"}`, ""},
			{"update", `{"id":1,"new":null}`, `{"id":1,"new":"z"}`, "new"},
		}, []string{`1: id=1 old="x" new="z"`, `2: id=2 new="y"`}, nil},
		{"rows older than the trail", "id", []change{
			{"update", `{"id":1,"a":"x"}`, `{"id":1,"a":"y"}`, "a"},
			{"delete", `{"id":2,"a":"x"}`, "", ""},
		}, []string{`1: id=1 a="y"`}, []Break{{Sequence: 0, Key: "1", Kind: Unseen}, {Sequence: 1, Key: "2", Kind: Unseen}}},
		{"a hidden change", "id", []change{
			{"insert", "", `{"id":1,"a":"x","b":"y"}`, ""},
			{"update", `{"id":1,"a":"HIDDEN"}`, `{"id":1,"a":"z"}`, "a"},
			{"delete", `{"id":1,"a":"z","b":"HIDDEN"}`, "", ""},
		}, nil, []Break{
			{Sequence: 1, Before: 0, Key: "1", Kind: Discontinuous, Columns: []string{"a"}, Want: []Value{{String, "x"}}, Got: []Value{{String, "HIDDEN"}}},
			{Sequence: 2, Before: 1, Key: "1", Kind: Discontinuous, Columns: []string{"b"}, Want: []Value{{String, "y"}}, Got: []Value{{String, "HIDDEN"}}},
		}},
		{"no key: equal rows", "", []change{
			{"insert", "", `{"a":"x"}`, ""}, {"insert", "", `{"a":"x"}`, ""}, {"insert", "", `{"a":null}`, ""},
			{"delete", `{"a":"x"}`, "", ""},
			{"update", `{"a":null}`, `{"a":"z"}`, "a"},
		}, []string{`: a="x"`, `: a="z"`}, nil},
		{"no key: the entry has only the changed columns", "", []change{
			{"insert", "", `{"a":"x","b":1}`, ""}, {"insert", "", `{"a":"y","b":2}`, ""},
			{"update", `{"a":"y"}`, `{"a":"z"}`, "a"},
			{"truncate", "", "", ""},
			{"insert", "", `{"a":"x","b":1}`, ""}, {"insert", "", `{"a":"x","b":2}`, ""},
			{"update", `{"a":"x"}`, `{"a":"z"}`, "a"},
			{"delete", `{"a":"q"}`, "", ""},
		}, []string{`: a="x" b=2`, `: a="z" b=1`}, []Break{{Sequence: 6, Kind: Ambiguous}, {Sequence: 7, Kind: Uninserted}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fold(t, tt.key, tt.changes...)
			if diff := cmp.Diff(tt.rows, rowsOf(f)); diff != "" {
				t.Errorf("rows differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.breaks, f.Breaks().First); diff != "" {
				t.Errorf("breaks differ (-want +got):\n%s", diff)
			}
			if f.Len() != len(tt.rows) {
				t.Errorf("Len: got %d, want %d", f.Len(), len(tt.rows))
			}
		})
	}
}

func TestFoldPassesOverWhatIsNotItsOwn(t *testing.T) {
	f := NewFold("public", "t", []string{"id"})
	for i, table := range []string{"other", "t"} {
		e := at("insert", "create", "", `{"id":1}`)
		e.TableName, e.Sequence = audit.T(table), uint64(i)
		if err := f.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	login := event(at("event", "login", "", `[1]`))
	if err := f.Add(&login); err != nil || f.Len() != 1 {
		t.Errorf("got %v and %d rows, want 1", err, f.Len())
	}
	for want, e := range map[string]audit.Entry{
		"old_values":                      at("delete", "", `{`, ""),
		"new_values":                      at("insert", "", "", `{`),
		"does not hold the key column id": at("insert", "", "", `{"a":1}`),
	} {
		e.SchemaName, e.TableName = audit.T("public"), audit.T("t")
		if err := NewFold("public", "t", []string{"id"}).Add(&e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	earlier := at("insert", "create", "", `{"id":2}`)
	earlier.TableName, earlier.Sequence = audit.T("t"), 0
	if err := f.Add(&earlier); err == nil || !strings.Contains(err.Error(), "it comes after entry 1") {
		t.Errorf("entry out of order: got %v", err)
	}
}

// live makes a live table of rows given as column=value, NULL for none.
func live(columns string, rows ...[]string) LiveTable {
	table := LiveTable{}
	for _, c := range strings.Fields(columns) {
		name, generated := strings.CutSuffix(c, "*")
		table.Columns = append(table.Columns, LiveColumn{name, generated})
	}
	table.Rows = iter.Seq2[[][]byte, error](func(yield func([][]byte, error) bool) {
		buffer := make([][]byte, len(table.Columns)) // lent and reused, as pgx does
		for _, row := range rows {
			for i, v := range row {
				buffer[i] = []byte(v)
				if v == "NULL" {
					buffer[i] = nil
				}
			}
			if !yield(buffer, nil) {
				return
			}
		}
	})
	return table
}

func TestCompare(t *testing.T) {
	inserts := []change{
		{"insert", "", `{"id":1,"a":"x","ok":true}`, ""},
		{"insert", "", `{"id":2,"a":null,"ok":false}`, ""},
	}
	tests := []struct {
		name string
		key  string
		in   []change
		live LiveTable
		want Comparison
		say  []string
	}{
		{"the same", "id", inserts, live("id a ok", []string{"1", "x", "t"}, []string{"2", "NULL", "f"}), Comparison{Rows: 2, Same: 2}, nil},
		{"columns in another order, one dropped", "id", inserts, live("ok id", []string{"f", "2"}, []string{"t", "1"}), Comparison{Rows: 2, Same: 2}, nil},
		{"missing, extra and different", "id", inserts, live("id a ok", []string{"1", "y", "t"}, []string{"3", "z", "t"}),
			Comparison{Rows: 2, Different: 1, Missing: 1, Extra: 1}, []string{"different 1 (a)", "missing 3 (id, a, ok)", "extra 2 (id, a, ok)"}},
		{"NULL is not the empty text", "id", inserts, live("id a ok", []string{"1", "x", "t"}, []string{"2", "", "f"}),
			Comparison{Rows: 2, Same: 1, Different: 1}, []string{"different 2 (a)"}},
		{"a secret value is any value but NULL", "id", []change{{"insert", "", `{"id":1,"a":["secret"]}`, ""}, {"insert", "", `{"id":2,"a":["secret"]}`, ""}},
			live("id a", []string{"1", "x"}, []string{"2", "NULL"}), Comparison{Rows: 2, Same: 1, Different: 1}, []string{"different 2 (a)"}},
		{"a secret in a table without key", "", []change{{"insert", "", `{"id":1,"a":["secret"]}`, ""}, {"insert", "", `{"id":2,"a":null}`, ""}, {"insert", "", `{"id":3,"a":["secret"]}`, ""}},
			live("id a", []string{"1", "x"}, []string{"2", "NULL"}, []string{"3", "NULL"}), Comparison{Rows: 3, Same: 2, Missing: 1, Extra: 1}, []string{"missing row without key (id, a)", "extra row without key (id, a)"}},
		{"a text that looks like a secret", "id", []change{{"insert", "", `{"id":1,"a":"[\"secret\"]"}`, ""}},
			live("id a", []string{"1", "x"}), Comparison{Rows: 1, Different: 1}, []string{"different 1 (a)"}},
		{"boolean", "id", inserts, live("id a ok", []string{"1", "x", "f"}, []string{"2", "NULL", "f"}),
			Comparison{Rows: 2, Same: 1, Different: 1}, []string{"different 1 (ok)"}},
		{"column added later", "id", inserts, live("id a ok more", []string{"1", "x", "t", "NULL"}, []string{"2", "NULL", "f", "default"}),
			Comparison{Rows: 2, Same: 1, Unknown: 1, UnknownColumns: map[string]int{"more": 1}}, nil},
		{"generated column", "id", inserts, live("id a ok sum*", []string{"1", "x", "t", "5"}, []string{"2", "NULL", "f", "6"}), Comparison{Rows: 2, Same: 2}, nil},
		{"row older than the trail", "id", []change{{"update", `{"id":1,"a":"x"}`, `{"id":1,"a":"y"}`, "a"}}, live("id a ok", []string{"1", "y", "NULL"}),
			Comparison{Rows: 1, Unknown: 1, UnknownColumns: map[string]int{"ok": 1}}, nil},
		{"a row captured twice", "id", append(slices.Clone(inserts), inserts[0]), live("id a ok", []string{"1", "x", "t"}, []string{"2", "NULL", "f"}),
			Comparison{Rows: 2, Same: 2, Extra: 1}, []string{"extra 1 (id, a, ok)"}},
		{"no key", "", append(slices.Clone(inserts), inserts[0]), live("id a ok", []string{"1", "x", "t"}, []string{"1", "x", "t"}, []string{"2", "NULL", "f"}),
			Comparison{Rows: 3, Same: 3}, nil},
		{"no key: once too often", "", append(slices.Clone(inserts), inserts[0]), live("id a ok", []string{"1", "x", "t"}, []string{"2", "NULL", "t"}),
			Comparison{Rows: 2, Same: 1, Missing: 1, Extra: 2}, []string{"missing row without key (id, a, ok)", "extra row without key (id, a, ok)", "extra row without key (id, a, ok)"}},
		{"no key: columns in another order", "", inserts, live("ok a id", []string{"t", "x", "1"}, []string{"f", "NULL", "2"}), Comparison{Rows: 2, Same: 2}, nil},
		{"empty", "id", nil, live("id"), Comparison{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fold(t, tt.key, tt.in...)
			for range 2 { // a fold can be compared again
				got, err := f.Compare(tt.live)
				if err != nil {
					t.Fatal(err)
				}
				var say []string
				for _, d := range got.First {
					say = append(say, d.String())
				}
				slices.Sort(say)
				want := slices.Clone(tt.say)
				slices.Sort(want)
				if diff := cmp.Diff(want, say); diff != "" {
					t.Errorf("differences differ (-want +got):\n%s", diff)
				}
				got.First = nil
				if tt.want.UnknownColumns == nil {
					tt.want.UnknownColumns = map[string]int{}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("comparison differs (-want +got):\n%s", diff)
				}
				if exact := got.Same == got.Rows && got.Extra == 0; got.Exact() != exact {
					t.Errorf("Exact: got %v for %s", got.Exact(), got)
				}
			}
		})
	}
	if _, err := fold(t, "id", inserts...).Compare(live("a")); err == nil || audit.Hint(err) == "" {
		t.Errorf("key column missing: got %v, want an error with a hint", err)
	}
}

// TestFoldFollowsAnyHistory makes up histories of a small table, with changes
// of keys, and folds them.
func TestFoldFollowsAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		full := rapid.Bool().Draw(t, "full")
		keyed := rapid.Bool().Draw(t, "keyed")
		var key []string
		if keyed {
			key = []string{"id"}
		}
		f := NewFold("public", "t", key)
		table := map[int]string{}
		image := func(id int) string { return `{"id":` + strconv.Itoa(id) + `,"v":"` + table[id] + `"}` }
		n := uint64(0)
		add := func(op, old, now string, changed ...string) {
			e := at(op, op, old, now, changed...)
			e.TableName, e.Sequence = audit.T("t"), n
			n++
			if err := f.Add(&e); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			id, to := rapid.IntRange(0, 5).Draw(t, "id"), rapid.IntRange(0, 5).Draw(t, "to")
			_, there := table[id]
			_, taken := table[to]
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step == 0:
				clear(table)
				add("truncate", "", "")
			case !there:
				table[id] = rapid.StringMatching("[abc]").Draw(t, "v")
				add("insert", "", image(id))
			case step < 3:
				old := image(id)
				delete(table, id)
				add("delete", old, "")
			case step < 6 && !taken:
				old := image(id)
				table[to] = table[id]
				delete(table, id)
				if !full && keyed {
					old = `{"id":` + strconv.Itoa(id) + `}`
				}
				add("update", old, image(to), "id")
			default:
				old := image(id)
				table[id] = rapid.StringMatching("[abc]").Draw(t, "v")
				if !full && keyed {
					old = ""
				}
				add("update", old, image(id), "v")
			}
		}
		var rows [][]string
		for id, v := range table {
			rows = append(rows, []string{strconv.Itoa(id), v})
		}
		got, err := f.Compare(live("id v", rows...))
		if err != nil {
			t.Fatal(err)
		}
		if !got.Exact() || f.Breaks().Count > 0 {
			t.Fatalf("%s; %v; %v", got, got.First, f.Breaks())
		}
	})
}
