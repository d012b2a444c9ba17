package cdc

import (
	"slices"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// FuzzTuple gives any rows to a table of any width and identity: what stands
// behind the message type and the table. A row is refused, or read as pglogrepl
// reads it; it never has a column more or less than its table.
func FuzzTuple(f *testing.F) {
	for _, c := range []struct {
		op, columns, keys byte
		rows              []byte
	}{
		{'I', 2, 1, msgTuple('N', "1", nil)},
		{'I', 1, 1, msgTuple('N', "1", "2")},
		{'U', 2, 1, msgTuple('N', "1", unchanged{})},
		{'U', 2, 3, slices.Concat(msgTuple('O', "1", "a"), msgTuple('N', "1", "b"))},
		{'U', 3, 2, slices.Concat(msgTuple('K', nil, "k", nil), msgTuple('N', "1", "l", nil))},
		{'D', 2, 1, msgTuple('K', "1", nil)},
		{'D', 2, 3, msgTuple('O', "1", "a")},
		{'D', 0, 0, msgTuple('O')},
		{'I', 0, 0, msgTuple('N')},
		{'I', 2, 1, []byte{'N', 0xff, 0xff}},
		{'I', 1, 1, []byte{'N', 0, 1, 't', 0xff, 0xff, 0xff, 0xff}},
		{'I', 1, 1, []byte{'N', 0, 1, 'b', 0, 0, 0, 1, 0}},
	} {
		f.Add(c.op, c.columns, c.keys, c.rows)
	}
	f.Fuzz(func(t *testing.T, op, columns, keys byte, rows []byte) {
		var list []audit.Column
		for i := range columns % 9 {
			list = append(list, audit.Column{Name: string('a' + rune(i)), TypeOID: 25, TypeMod: -1, InIdentity: keys>>i&1 == 1})
		}
		d := newDecoder(fixedKeys{})
		decodeAll(t, d, msgRelation(9, "public", "t", "dfin"[keys>>6], list...))
		frame := msgRow([]byte("IUD")[op%3], 9, rows)
		if op >= 'A' {
			frame[0] = op
		}
		m := readOrRefused(t, d, frame)
		if m == nil {
			return
		}
		for _, tuple := range []audit.Tuple{m.change.Old, m.change.New} {
			if tuple != nil && m.change.Relation != nil && len(tuple) != len(m.change.Relation.Columns) {
				t.Errorf("%q: a row of %d columns in a table of %d", frame, len(tuple), len(m.change.Relation.Columns))
			}
		}
	})
}
