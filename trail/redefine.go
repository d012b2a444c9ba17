package trail

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// redefinition is what an entry about DDL says of a table whose rows are
// folded; docs/entry.md names its keys.
type redefinition struct {
	Command     string   `json:"command"`
	Type        string   `json:"type"`
	Object      string   `json:"object"` // in SQL
	Dropped     bool     `json:"dropped"`
	Followed    []string `json:"followed"`
	NotFollowed string   `json:"not_followed"`

	Table       []string          `json:"table"` // schema and name behind the command
	RenamedFrom []string          `json:"renamed_from"`
	Gone        []string          `json:"dropped_columns"`
	Renamed     map[string]string `json:"renamed_columns"`
	Added       json.RawMessage   `json:"added_columns"` // with the value in the rows that were there
	Unknown     []string          `json:"unknown_values"`
	Logged      string            `json:"persistence"` // it is in the log from here on, or is no more
}

// redefined applies an entry about DDL. A table that is renamed leaves its rows
// under the old name; under the new one they are rows of which nothing was told.
func (f *Fold) redefined(e *audit.Entry) error {
	var d redefinition
	if err := json.Unmarshal(e.NewValues, &d); err != nil {
		return fmt.Errorf("apply entry %d: details of DDL: %w", e.Sequence, err)
	}
	own := []string{f.schema, f.table}
	switch {
	case d.RenamedFrom != nil && (slices.Equal(d.RenamedFrom, own) || slices.Equal(d.Table, own)):
		f.clear()
		f.complete = false
	case d.Type == "table" && (d.Dropped || d.Command == "CREATE TABLE") && f.called(d.Object):
		f.clear()
		f.complete = !d.Dropped && len(d.Followed) > 0 && d.NotFollowed == ""
	case slices.Equal(d.Table, own):
		return f.reshaped(e, d)
	}
	return nil
}

// called reports whether a name in SQL is that of the table.
func (f *Fold) called(object string) bool {
	schema, table := splitTable(object)
	return unquote(schema) == f.schema && table == f.table
}

// reshaped applies what became of the columns.
func (f *Fold) reshaped(e *audit.Entry, d redefinition) error {
	for _, name := range d.Gone {
		if i, ok := f.columns[name]; ok {
			delete(f.columns, name)
			f.setColumn(i, Value{})
		}
	}
	moved := make(map[string]int, len(d.Renamed))
	for before, after := range d.Renamed {
		if i, ok := f.columns[before]; ok {
			delete(f.columns, before)
			moved[after] = i
		}
	}
	for name, i := range moved {
		f.columns[name], f.names[i] = i, name
	}
	for _, name := range d.Unknown {
		if slices.Contains(f.key, name) { // under which key a row lies is not known either
			f.doubts, f.complete = append(f.doubts, doubt{sequence: e.Sequence}), false
		}
		f.doubts = append(f.doubts, doubt{e.Sequence, name})
	}
	if d.Logged != "" {
		f.doubts, f.complete = append(f.doubts, doubt{sequence: e.Sequence}), false
	}
	if d.Added == nil {
		return nil
	}
	added, err := ParseRow(audit.Text(d.Added))
	if err != nil {
		return fmt.Errorf("apply entry %d: added columns: %w", e.Sequence, err)
	}
	for _, field := range added {
		f.merge(nil, Row{field}) // it has a place from here on
		f.setColumn(f.columns[field.Name], field.Value)
	}
	return nil
}

// setColumn gives every row the same value in a column.
func (f *Fold) setColumn(i int, v Value) {
	set := func(values []Value) []Value {
		if i >= len(values) {
			if !v.Known() {
				return values
			}
			values = slices.Grow(values, i+1-len(values))[:i+1]
		}
		values[i] = v
		return values
	}
	for _, row := range f.rows {
		for ; row != nil; row = row.next {
			row.values = set(row.values)
		}
	}
	bag := make(map[string]*bagRow, len(f.bag))
	for _, row := range f.bag {
		row.values = set(row.values)
		if same := bag[bagKey(row.values)]; same != nil {
			same.count += row.count
			continue
		}
		bag[bagKey(row.values)] = row
	}
	f.bag = bag
}
