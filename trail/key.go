package trail

import (
	"slices"
	"strings"
)

// KeyText is the resource_id of a row whose key columns have these values: the
// text of the one column as it is, or several joined by "/", where "/" and "%"
// inside a value are percent-escaped.
func KeyText(values ...Value) string {
	if len(values) == 1 {
		return values[0].Postgres()
	}
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = keyEscapes.Replace(v.Postgres())
	}
	return strings.Join(parts, "/")
}

var keyEscapes = strings.NewReplacer("%", "%25", "/", "%2F")

// splitKey is the reverse of KeyText for a key of several columns.
func splitKey(id string) []string {
	parts := strings.Split(id, "/")
	for i, p := range parts {
		parts[i] = strings.NewReplacer("%25", "%", "%2F", "/", "%2f", "/").Replace(p)
	}
	return parts
}

// keyOf finds the columns of row that its resource_id was made of. An entry
// does not name them. In an update that left the key alone they are the columns
// that did not change; otherwise the first columns that have these values are
// taken. It returns nil when there are no such columns.
func keyOf(row Row, id string, changed []string) []string {
	if id == "" {
		return nil
	}
	var same []string
	for _, f := range row {
		if !slices.Contains(changed, f.Name) {
			same = append(same, f.Name)
		}
	}
	if len(same) > 0 && len(changed) > 0 && row.key(same) == id {
		return same
	}
	if key := row.having([]string{id}); key != nil {
		return key
	}
	return row.having(splitKey(id))
}

// having returns the first columns with these texts, one for each.
func (r Row) having(texts []string) []string {
	var key []string
	for _, part := range texts {
		at := slices.IndexFunc(r, func(f Field) bool {
			return f.Value.Known() && f.Value.Kind != Null && f.Value.Postgres() == part && !slices.Contains(key, f.Name)
		})
		if at < 0 {
			return nil
		}
		key = append(key, r[at].Name)
	}
	return key
}

// key is the resource_id of the row, given its key columns; "" when one of
// them is unknown.
func (r Row) key(columns []string) string {
	values := make([]Value, 0, 4)
	for _, c := range columns {
		v := r.Get(c)
		if !v.Known() {
			return ""
		}
		values = append(values, v)
	}
	return KeyText(values...)
}

// joinNames makes one parameter of column names, which cannot contain NUL.
func joinNames(names []string) string { return strings.Join(names, "\x00") }
