package enrich

import (
	"bytes"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// windowBytes bounds what is remembered of the changes in a window. More than
// that, and the chunk has to be read again.
const windowBytes = 32 << 20

// window is what happened to a table between the two marks of a chunk.
type window struct {
	id       audit.ChunkID
	relation uint32
	key      []string
	done     chan audit.Outcome // capacity 1

	met     bool // the low mark was
	chunk   *audit.Chunk
	rows    map[string]struct{} // keys of the chunk
	latest  map[string]image    // by key: rows that changed
	emptied bool                // the table was, and what did not come since is gone
	journal []deed              // of a table without a key
	bytes   int
	spoiled string // why the chunk cannot be used
	tooMuch bool

	keyOf     *audit.Relation // that keyIn is about
	keyIn     []int
	structure *audit.Relation // of the first change
}

// image is a row as it is now.
type image struct {
	relation *audit.Relation
	row      audit.Tuple // nil: it is not there any more
	other    bool        // another row than the chunk has under this key
}

// deed is a change of a row that only all of its values tell from others.
type deed struct {
	xid      uint32
	emptied  bool
	old, now image
}

func newWindow(id audit.ChunkID, relation uint32, key []string) *window {
	return &window{
		id: id, relation: relation, key: key,
		done: make(chan audit.Outcome, 1), latest: make(map[string]image),
	}
}

func (w *window) spoil(why string) {
	if w.spoiled == "" {
		w.spoiled = why
	}
	w.latest, w.journal, w.rows = nil, nil, nil
}

// hand takes the rows. Of what was remembered so far, what is about others is
// forgotten.
func (w *window) hand(c *audit.Chunk) {
	w.chunk = c
	if len(w.key) == 0 || w.spoiled != "" {
		return
	}
	w.rows = make(map[string]struct{}, len(c.Rows))
	for _, row := range c.Rows {
		key, ok := w.keyText(c.Relation, row)
		if !ok {
			w.spoil("a row has no key")
			return
		}
		w.rows[key] = struct{}{}
	}
	for key := range w.latest {
		if _, ok := w.rows[key]; !ok {
			delete(w.latest, key)
		}
	}
}

// take remembers a change that the log tells of.
func (w *window) take(xid uint32, c *audit.Change) {
	if !w.met || w.spoiled != "" || c.Relation.ID != w.relation {
		return
	}
	if w.structure == nil {
		w.structure = c.Relation
	}
	switch {
	case len(w.key) == 0:
		w.note(xid, c)
	case c.Op == audit.Truncate:
		clear(w.latest)
		w.emptied, w.bytes = true, 0
	case c.Op == audit.Insert:
		w.set(c.Relation, c.New, nil)
	case c.Op == audit.Delete:
		w.unset(c.Relation, c.Old)
	case c.Op == audit.Update:
		w.update(c)
	}
	if w.bytes > windowBytes {
		w.tooMuch = true
		w.spoil("too much changed meanwhile")
	}
}

// update is a deletion and an insertion where it changes the key. An old row
// that the log leaves out had the key that the new one has.
func (w *window) update(c *audit.Change) {
	if c.Old == nil {
		w.set(c.Relation, c.New, nil)
		return
	}
	var old audit.Tuple
	if c.OldWhole {
		old = c.Old
	}
	before, ok := w.keyText(c.Relation, c.Old)
	after, known := w.keyText(c.Relation, over(c.New, old))
	if ok && known && before != after {
		w.unset(c.Relation, c.Old)
		if w.concerns(after) {
			w.latest[after] = image{relation: c.Relation, other: true}
		}
	}
	w.set(c.Relation, c.New, old)
}

// set remembers the row as it is now. Values that the log leaves out because
// they did not change come from the row before, as far as that is known.
func (w *window) set(r *audit.Relation, row, before audit.Tuple) {
	row = over(row, before)
	key, ok := w.keyText(r, row)
	if !ok {
		w.spoil("the key of a changed row is not in the log")
		return
	}
	if !w.concerns(key) {
		return
	}
	known, changed := w.latest[key]
	if changed && known.relation == r {
		row = over(row, known.row)
	}
	w.latest[key] = image{r, w.keep(row), known.other || changed && known.row == nil}
}

func (w *window) unset(r *audit.Relation, row audit.Tuple) {
	key, ok := w.keyText(r, row)
	if !ok {
		w.spoil("the key of a deleted row is not in the log")
		return
	}
	if w.concerns(key) {
		w.latest[key] = image{relation: r}
		w.bytes += len(key)
	}
}

// concerns reports whether a row can be of the chunk.
func (w *window) concerns(key string) bool {
	if w.rows == nil {
		return true
	}
	_, ok := w.rows[key]
	return ok
}

// note remembers a change of a table without a key. Whether the snapshot saw
// it already is known later.
func (w *window) note(xid uint32, c *audit.Change) {
	d := deed{xid: xid, emptied: c.Op == audit.Truncate}
	if c.Op == audit.Update || c.Op == audit.Delete {
		if !c.OldWhole {
			w.spoil("the log does not hold the old rows of a table without a key")
			return
		}
		d.old = image{relation: c.Relation, row: w.keep(c.Old)}
	}
	if c.Op == audit.Update || c.Op == audit.Insert {
		d.now = image{relation: c.Relation, row: w.keep(over(c.New, c.Old))}
	}
	w.journal = append(w.journal, d)
	w.bytes += 64
}

// keep copies a row, because those of a feed hold all of it in memory.
func (w *window) keep(row audit.Tuple) audit.Tuple {
	kept := slices.Clone(row)
	for i := range kept {
		kept[i].Data = bytes.Clone(kept[i].Data)
		w.bytes += 32 + len(kept[i].Data)
	}
	return kept
}

// over takes the unchanged values of row from the one below.
func over(row, below audit.Tuple) audit.Tuple {
	var merged audit.Tuple
	for i, v := range row {
		if v.Kind != audit.Unchanged || i >= len(below) {
			continue
		}
		if merged == nil {
			merged = slices.Clone(row)
		}
		merged[i] = below[i]
	}
	if merged == nil {
		return row
	}
	return merged
}

// keyText joins the values of the key; ok is false when row does not hold them.
func (w *window) keyText(r *audit.Relation, row audit.Tuple) (text string, ok bool) {
	if w.keyOf != r {
		w.keyOf, w.keyIn = r, indexes(r, w.key)
	}
	if len(w.keyIn) != len(w.key) {
		return "", false
	}
	var b []byte
	for _, i := range w.keyIn {
		if i >= len(row) || row[i].Kind != audit.Literal {
			return "", false
		}
		b = audit.AppendNetstring(b, row[i].Data)
	}
	return string(b), true
}

// outdated reports whether the table looked otherwise in the log than when the
// chunk was read.
func (w *window) outdated() bool {
	then, now := w.chunk.Relation, w.structure
	return now != nil && (then.Schema != now.Schema || then.Name != now.Name ||
		!slices.EqualFunc(then.Columns, now.Columns, func(a, b audit.Column) bool { return a.Name == b.Name && a.TypeOID == b.TypeOID }))
}

// result is the rows of the chunk as they are at the high mark.
func (w *window) result() []image {
	if len(w.key) == 0 {
		return w.replay()
	}
	list := make([]image, 0, len(w.chunk.Rows))
	for _, row := range w.chunk.Rows {
		key, _ := w.keyText(w.chunk.Relation, row) // it has one, or hand had refused it
		now, changed := w.latest[key]
		switch {
		case !changed && !w.emptied:
			list = append(list, image{relation: w.chunk.Relation, row: row})
		case changed && now.row != nil:
			if !now.other { // both have the same columns, or the chunk were refused
				now.row = over(now.row, row)
			}
			list = append(list, now)
		}
	}
	return list
}

// replay does to the rows of a table without a key what the snapshot did not
// see.
func (w *window) replay() []image {
	list := make([]image, 0, len(w.chunk.Rows))
	places := make(map[string][]int) // of equal rows
	put := func(i image) {
		text := wholeText(i.row)
		places[text] = append(places[text], len(list))
		list = append(list, i)
	}
	for _, row := range w.chunk.Rows {
		put(image{relation: w.chunk.Relation, row: row})
	}
	for _, d := range w.journal {
		if w.chunk.Snapshot.Sees(d.xid) {
			continue
		}
		if d.emptied {
			list, places = list[:0], make(map[string][]int)
			continue
		}
		if d.old.row != nil {
			text := wholeText(d.old.row)
			at := places[text]
			if len(at) == 0 {
				w.spoil("a row that was changed meanwhile is not in it")
				return nil
			}
			list[at[len(at)-1]].row = nil
			places[text] = at[:len(at)-1]
		}
		if d.now.row != nil {
			put(d.now)
		}
	}
	return slices.DeleteFunc(list, func(i image) bool { return i.row == nil })
}

// wholeText tells rows apart by all of their values.
func wholeText(row audit.Tuple) string {
	var b []byte
	for _, v := range row {
		b = append(b, byte(v.Kind))
		b = audit.AppendNetstring(b, v.Data)
	}
	return string(b)
}
