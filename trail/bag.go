package trail

import (
	"slices"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
)

// addToBag applies an entry of a table without a key: a row is found by its
// values. An entry that holds the whole old row finds it at once; otherwise all
// rows are searched.
func (f *Fold) addToBag(e *audit.Entry, old, now Row) error {
	switch e.Operation.String() {
	case "insert", "baseline":
		f.putInBag(f.merge(nil, now))
	case "update":
		f.putInBag(f.merge(f.takeFromBag(e, old), now))
	case "delete":
		f.takeFromBag(e, old)
	}
	return nil
}

func (f *Fold) putInBag(values []Value) {
	f.size++
	id := bagKey(values)
	if b := f.bag[id]; b != nil {
		b.count++
		return
	}
	f.bag[id] = &bagRow{values, 1}
}

// takeFromBag takes one row out that old may be the image of, and returns its
// values, which the caller owns.
func (f *Fold) takeFromBag(e *audit.Entry, old Row) []Value {
	id := bagKey(f.merge(nil, old))
	b := f.bag[id]
	if b == nil {
		var fits []string
		for candidate, row := range f.bag {
			if f.holds(row.values, old) {
				fits = append(fits, candidate)
			}
		}
		if len(fits) == 0 {
			if len(f.doubts) > 0 {
				f.breaks.Explained++
			} else {
				f.breaks.add(Break{Sequence: e.Sequence, Kind: f.unseen()})
			}
			return f.merge(nil, old)
		}
		if len(fits) > 1 {
			f.breaks.add(Break{Sequence: e.Sequence, Kind: Ambiguous})
		}
		id = slices.Min(fits) // so that the same entries make the same fold
		b = f.bag[id]
	}
	f.size--
	if b.count--; b.count == 0 {
		delete(f.bag, id)
	}
	return slices.Clone(b.values)
}

// holds reports whether values may be those of old: none that is known differs.
// A column that values does not know was added later.
func (f *Fold) holds(values []Value, old Row) bool { return len(f.differing(values, old)) == 0 }

// bagKey tells rows apart by all their values: for each known column its
// index, kind and text with its length.
func bagKey(values []Value) string {
	var key []byte
	for i, v := range values {
		if !v.Known() {
			continue
		}
		key = strconv.AppendInt(key, int64(i), 10)
		key = append(key, ':', byte('0'+v.Kind))
		key = audit.AppendNetstring(key, v.Text)
	}
	return string(key)
}
