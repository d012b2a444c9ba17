package enrich

import (
	"encoding/json"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// alteration is a followed table before and after a command.
type alteration struct {
	Before tableLook `json:"before"`
	After  tableLook `json:"after"`
	// Lost are the columns whose values in the rows that were there are in no log:
	// the command wrote or reads them anew. See sql/postgres/install/lost.sql.
	Lost []string `json:"lost"`
}

// tableLook is what pgwitness.describe() says of a table.
type tableLook struct {
	OID         uint32       `json:"o"`
	Schema      string       `json:"s"`
	Name        string       `json:"n"`
	SQL         string       `json:"q"`
	Persistence string       `json:"p"`
	Identity    string       `json:"i"`
	Stamps      bool         `json:"w"` // both stamp triggers are sound
	Guards      []string     `json:"u"` // that are enabled
	Columns     []lookColumn `json:"c"`
}

type lookColumn struct {
	Number    int     `json:"n"`
	Name      string  `json:"c"`
	TypeOID   uint32  `json:"t"`
	Type      string  `json:"y"`
	Missing   *string `json:"v"` // value in rows that are older than the column
	Generated bool    `json:"g"` // and in no log
}

// tableDiff is what a command changed in a table, as far as the entries of its
// rows depend on it: with it, a fold of the entries goes on being the table.
type tableDiff struct {
	// Table before and after, as schema and name: of a rename, and of columns.
	Table       []string `json:"table,omitempty"`
	RenamedFrom []string `json:"renamed_from,omitempty"`
	// DroppedColumns, RenamedColumns (old name → new name) and RetypedColumns
	// (name → type) were applied in this order, then AddedColumns (name → value
	// in the rows that were there).
	DroppedColumns []string          `json:"dropped_columns,omitempty"`
	RenamedColumns map[string]string `json:"renamed_columns,omitempty"`
	RetypedColumns map[string]string `json:"retyped_columns,omitempty"`
	AddedColumns   json.RawMessage   `json:"added_columns,omitempty"`
	// Unknown lists the columns whose values in the rows that were there are in
	// no log. If one of the key is among them, the rows themselves are unknown.
	Unknown  []string `json:"unknown_values,omitempty"`
	Identity string   `json:"replica_identity,omitempty"`
	Stamps   string   `json:"stamp_triggers,omitempty"`
	Logged   string   `json:"persistence,omitempty"`
}

// diff compares. The values of columns called as one of secret stay out.
func (a *alteration) diff(secret map[string]bool) *tableDiff {
	b, c := a.Before, a.After
	d := &tableDiff{Table: []string{c.Schema, c.Name}}
	if b.Schema != c.Schema || b.Name != c.Name {
		d.RenamedFrom = []string{b.Schema, b.Name}
	}
	d.columns(a, secret)
	d.Unknown = a.Lost
	if b.Identity != c.Identity {
		d.Identity = identityName(c.Identity)
	}
	if b.Stamps != c.Stamps {
		d.Stamps = map[bool]string{true: "sound again", false: "not sound"}[c.Stamps]
	}
	if b.Persistence != c.Persistence {
		d.Logged = map[bool]string{true: "logged", false: "unlogged"}[c.Persistence == "p"]
	}
	return d
}

// columns compares columns by their number, which they keep for life.
func (d *tableDiff) columns(a *alteration, secret map[string]bool) {
	before := a.Before.Columns
	known := make(map[int]lookColumn, len(before))
	for _, c := range before {
		known[c.Number] = c
	}
	added := []byte{'{'}
	for _, c := range a.After.Columns {
		was, ok := known[c.Number]
		delete(known, c.Number)
		if !ok {
			// Of generated columns that are in no log the entries do not tell.
			if !c.Generated && !slices.Contains(a.Lost, c.Name) {
				added = appendAdded(added, c, secret[c.Name])
			}
			continue
		}
		if was.Name != c.Name {
			set(&d.RenamedColumns, was.Name, c.Name)
		}
		if was.Type != c.Type {
			set(&d.RetypedColumns, c.Name, c.Type)
		}
	}
	for _, c := range before {
		if _, gone := known[c.Number]; gone {
			d.DroppedColumns = append(d.DroppedColumns, c.Name)
		}
	}
	if len(added) > 1 {
		d.AddedColumns = append(added, '}')
	}
}

// appendAdded appends the value that column c has in older rows.
func appendAdded(b []byte, c lookColumn, secret bool) []byte {
	switch {
	case c.Missing == nil:
		return append(appendKey(b, c.Name), "null"...)
	case secret:
		return append(appendKey(b, c.Name), secretJSON...)
	}
	return appendValue(appendKey(b, c.Name), formOf(c.TypeOID), audit.Value{Kind: audit.Literal, Data: []byte(*c.Missing)})
}

func set(m *map[string]string, key, value string) {
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[key] = value
}
