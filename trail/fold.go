package trail

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// Fold is a table as its entries tell it: the rows that are left after every
// insert, update, delete and TRUNCATE was done again, in order. Memory is that
// of the rows.
//
// A table with a key is folded by the key. Rows that share a key for a while,
// as within a transaction under a deferred constraint, are kept apart and told
// from each other by their old values, then by age. A table without a key is
// folded as a bag of rows.
type Fold struct {
	schema, table string
	key           []string

	names   []string       // columns, in the order in which they were first seen
	columns map[string]int // name → index in names

	era    int                 // baselines begun
	rows   map[string]*foldRow // with a key: resource_id → rows of that key, oldest first
	bag    map[string]*bagRow  // without one: all values → row
	size   int
	breaks Breaks
	round  int    // comparisons so far
	next   uint64 // no entry below this sequence is taken any more

	owns     func(key string) bool // nil: the rows of every key are folded
	unique   bool                  // no two rows have the same key behind a commit
	commit   audit.LSN             // of the transaction that is being applied
	doubled  []string              // keys of which that transaction made a second row
	doubts   []doubt               // oldest first
	complete bool                  // a row that no entry told of cannot be there
}

// foldRow is a row of a keyed fold.
type foldRow struct {
	values   []Value // by column index; shorter when columns came later
	whole    bool    // an insert was seen, so that no column is unknown but those added later
	next     *foldRow
	round    int    // the comparison in which a live row met this one
	sequence uint64 // of the last entry about it
	era      int    // in which that was
}

// bagRow is a row of a fold without a key, and how often it is there.
type bagRow struct {
	values []Value
	count  int
}

// Break is a place where an entry does not go on from what the entries before
// it left.
type Break struct {
	Sequence uint64
	Before   uint64 // the last entry about that row before it; 0 when there is none
	Key      string // "" in a table without a key
	Kind     BreakKind
	Columns  []string // whose old value is not what it should be
	Want     []Value  // what the entries before it left in Columns
	Got      []Value  // what it says was there
}

// BreakKind says what is wrong at a Break.
type BreakKind string

// The kinds of breaks.
const (
	// Unseen: an update or delete of a row that no entry told of. Normal for
	// rows that are older than the trail.
	Unseen BreakKind = "unseen"
	// Uninserted: the same where the trail should know every row, because it
	// has the baseline, the creation or a TRUNCATE of the table: an insert is
	// missing.
	Uninserted BreakKind = "uninserted"
	// Undeleted: a transaction left a second row with the key of one that no
	// entry deleted: a delete is missing.
	Undeleted BreakKind = "undeleted"
	// Discontinuous: the old values are not the last ones known of that row,
	// so that a change in between is missing.
	Discontinuous BreakKind = "discontinuous"
	// Ambiguous: a table without a key has several rows that the entry may be
	// about, and the entry does not hold the whole row.
	Ambiguous BreakKind = "ambiguous"
)

// Breaks is what a Fold met. Only the first of each kind are kept.
type Breaks struct {
	Count int
	Kinds map[BreakKind]int // how many of each
	First []Break
	// Explained counts what would be a break, had the trail not said itself
	// that it missed changes, or that the table was redefined.
	Explained int
}

const keptBreaks = 1000

func (b *Breaks) add(x Break) {
	if b.Kinds == nil {
		b.Kinds = make(map[BreakKind]int)
	}
	b.Count++
	if b.Kinds[x.Kind]++; b.Kinds[x.Kind] <= keptBreaks {
		b.First = append(b.First, x)
	}
}

// NewFold returns the fold of an empty table. key lists the columns of its
// key, in key order; without any the table is folded as a bag.
func NewFold(schema, table string, key []string) *Fold {
	f := &Fold{schema: schema, table: table, key: slices.Clone(key), columns: make(map[string]int)}
	f.clear()
	return f
}

func (f *Fold) clear() {
	f.rows, f.bag, f.size = make(map[string]*foldRow), make(map[string]*bagRow), 0
}

// Len is the number of rows.
func (f *Fold) Len() int { return f.size }

// Breaks returns where the entries did not follow from each other.
func (f *Fold) Breaks() Breaks { return f.breaks }

// Fold folds the entries of a table up to and including sequence last; a nil
// last means all.
func (t *Trail) Fold(ctx context.Context, stream, schema, table string, key []string, last *uint64) (*Fold, error) {
	return t.foldPart(ctx, Review{Stream: stream, Last: last}, Table{Schema: schema, Name: table, Key: key}, parts{count: 1}, 0)
}

// Add applies an entry. Entries must come in the order of their sequence;
// those of other tables, and those that are no change of a row, are passed
// over. e is not kept.
func (f *Fold) Add(e *audit.Entry) error {
	if e.Sequence < f.next {
		return fmt.Errorf("apply entry %d: it comes after entry %d", e.Sequence, f.next-1)
	}
	if operation := e.Operation.String(); operation == "event" || operation == "ddl" {
		return f.hear(e)
	}
	if e.SchemaName.String() != f.schema || e.TableName.String() != f.table {
		return nil
	}
	f.next = e.Sequence + 1
	if e.CommitLSN != f.commit {
		f.End()
		f.commit = e.CommitLSN
	}
	if e.Operation.String() == "truncate" {
		f.clear()
		f.complete = true
		return nil
	}
	old, now, err := images(e)
	if err != nil {
		return err
	}
	if len(f.key) == 0 {
		return f.addToBag(e, old, now)
	}
	return f.addKeyed(e, old, now)
}

func (f *Fold) addKeyed(e *audit.Entry, old, now Row) error {
	switch e.Operation.String() {
	case "insert", "baseline":
		key, err := f.keyFrom(e, now, nil)
		if err != nil || !f.mine(key) {
			return err
		}
		if e.Operation.String() == "baseline" && f.rows[key] != nil {
			row := f.take(e, key, false, now)
			row.values, row.whole, row.era = f.merge(row.values, now), true, f.era
			return nil
		}
		f.put(key, &foldRow{values: f.merge(nil, now), whole: true, sequence: e.Sequence})
	case "update":
		after, err := f.keyFrom(e, now, old)
		if err != nil {
			return err
		}
		before, err := f.keyFrom(e, old, now)
		if err != nil || !f.mine(before) {
			return err
		}
		row := f.take(e, before, after != before, old)
		row.values, row.era = f.merge(row.values, now), f.era
		if after != before || f.rows[after] == nil {
			f.put(after, row)
		}
	case "delete":
		key, err := f.keyFrom(e, old, nil)
		if err != nil || !f.mine(key) {
			return err
		}
		f.take(e, key, true, old)
	}
	return nil
}

// keyFrom takes each key column from the first of the two rows that knows it.
func (f *Fold) keyFrom(e *audit.Entry, first, second Row) (string, error) {
	values, null := make([]Value, 0, 4), false
	for _, c := range f.key {
		v := first.Get(c)
		if !v.Known() {
			v = second.Get(c)
		}
		if !v.Known() {
			return "", fmt.Errorf("apply entry %d: the %s does not hold the key column %s: %w", e.Sequence, e.Operation, c, ErrOtherKey)
		}
		null = null || v.Kind == Null
		values = append(values, v)
	}
	key := KeyText(values...)
	if f.unique && e.ResourceID == nil && (null || key != "") { // a table without a key had the name
		return "", fmt.Errorf("apply entry %d: the %s is of a row without a key: %w", e.Sequence, e.Operation, ErrOtherKey)
	}
	return key, nil
}

// put adds a row behind the others of its key.
func (f *Fold) put(key string, row *foldRow) {
	row.next, row.era = nil, f.era
	f.size++
	at := f.rows[key]
	if at == nil {
		f.rows[key] = row
		return
	}
	for at.next != nil {
		at = at.next
	}
	at.next = row
	if f.unique {
		f.doubled = append(f.doubled, key)
	}
}

// take finds the row that an entry changes and checks that it is as the entry
// says it was. With remove, the row leaves its place. A row that was never
// seen is made up, of unknown columns.
func (f *Fold) take(e *audit.Entry, key string, remove bool, old Row) *foldRow {
	var before *foldRow
	row := f.rows[key]
	for at, prev := row, (*foldRow)(nil); at != nil; at, prev = at.next, at {
		if len(f.differing(at.values, old)) == 0 {
			row, before = at, prev
			break
		}
	}
	if row == nil {
		f.breaks.add(Break{Sequence: e.Sequence, Key: key, Kind: f.unseen()})
		return &foldRow{sequence: e.Sequence}
	}
	f.judge(e, key, row, old)
	f.touch(row, e.Sequence)
	if !remove {
		return row
	}
	f.size--
	switch {
	case before != nil:
		before.next = row.next
	case row.next != nil:
		f.rows[key] = row.next
	default:
		delete(f.rows, key)
	}
	return row
}

// merge sets the known columns of row in values.
func (f *Fold) merge(values []Value, row Row) []Value {
	for _, field := range row {
		i, ok := f.columns[field.Name]
		if !ok {
			i = len(f.names)
			name := strings.Clone(field.Name)
			f.names = append(f.names, name)
			f.columns[name] = i
		}
		if i >= len(values) {
			values = slices.Grow(values, max(len(f.names), i+1)-len(values))[:i+1]
		}
		if values[i] != field.Value {
			// The text of an entry is one string: a value must not keep it all alive.
			values[i] = Value{field.Value.Kind, strings.Clone(field.Value.Text)}
		}
	}
	return values
}

// differing lists the columns of old that have another known value in values.
func (f *Fold) differing(values []Value, old Row) []string {
	var bad []string
	for _, field := range old {
		i, ok := f.columns[field.Name]
		if ok && i < len(values) && values[i].Known() && !values[i].like(field.Value) {
			bad = append(bad, field.Name)
		}
	}
	return bad
}

// Rows yields the rows, in no order, with their key ("" in a table without
// one). Columns that are unknown are left out.
func (f *Fold) Rows() iter.Seq2[string, Row] {
	return func(yield func(string, Row) bool) {
		for key, row := range f.rows {
			for ; row != nil; row = row.next {
				if !yield(key, f.row(row.values)) {
					return
				}
			}
		}
		for _, b := range f.bag {
			for range b.count {
				if !yield("", f.row(b.values)) {
					return
				}
			}
		}
	}
}

func (f *Fold) row(values []Value) Row {
	row := make(Row, 0, len(values))
	for i, v := range values {
		if v.Known() {
			row = append(row, Field{f.names[i], v})
		}
	}
	return row
}
