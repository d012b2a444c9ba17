package trail

import (
	"github.com/pgwitness/pgwitness/audit"
)

// doubt is a place in the trail behind which rows that were seen before it may
// be others than the entries say, because the trail says so itself: it missed
// changes there, or the table was redefined, which rewrites rows and leaves
// nothing in the log.
type doubt struct {
	sequence uint64
	column   string // "": every column, and the row may be gone
}

// Doubted reports whether the trail says that it missed changes before which
// rows were seen.
func (f *Fold) Doubted() bool {
	for _, d := range f.doubts {
		if d.column == "" {
			return true
		}
	}
	return false
}

// Complete reports whether the trail should know every row of the table: it has
// the baseline, the creation or a TRUNCATE of it, and no declared gap since.
func (f *Fold) Complete() bool { return f.complete }

// hear takes in what an entry that is no change of a row says of the table.
func (f *Fold) hear(e *audit.Entry) error {
	switch {
	case e.Operation.String() == "ddl":
		return f.redefined(e)
	case e.Action.String() == "gap" && e.ResourceType.String() == "pgwitness.stream":
		f.doubts = append(f.doubts, doubt{sequence: e.Sequence})
		f.complete = false
	case e.ResourceType.String() == baselineResource && e.SchemaName.String() == f.schema && e.TableName.String() == f.table:
		// An application can write an event with these words, but not with a table.
		return f.addBaselineNote(e)
	}
	return nil
}

// unseen is the kind of break that a row of which no entry told is.
func (f *Fold) unseen() BreakKind {
	if f.complete {
		return Uninserted
	}
	return Unseen
}

// mine reports whether the rows of key are folded.
func (f *Fold) mine(key string) bool { return f.owns == nil || f.owns(key) }

// doubtful reports whether column of a row that was last seen at sequence may
// be another by now; "" asks for the row itself.
func (f *Fold) doubtful(sequence uint64, column string) bool {
	for i := len(f.doubts) - 1; i >= 0 && f.doubts[i].sequence > sequence; i-- {
		if c := f.doubts[i].column; c == "" || c == column {
			return true
		}
	}
	return false
}

// judge compares the old values of an entry with the row that they are of.
func (f *Fold) judge(e *audit.Entry, key string, row *foldRow, old Row) {
	bad := f.differing(row.values, old)
	kept := bad[:0]
	for _, column := range bad {
		if !f.doubtful(row.sequence, column) {
			kept = append(kept, column)
		}
	}
	switch {
	case len(bad) == 0:
	case len(kept) == 0:
		f.breaks.Explained++
	default:
		b := Break{Sequence: e.Sequence, Before: row.sequence, Key: key, Kind: Discontinuous, Columns: kept}
		for _, column := range kept {
			b.Want = append(b.Want, row.values[f.columns[column]])
			b.Got = append(b.Got, old.Get(column))
		}
		f.breaks.add(b)
	}
}

// touch notes that an entry told of a row. What is doubtful of it and not told
// by that entry is not known any more.
func (f *Fold) touch(row *foldRow, sequence uint64) {
	if n := len(f.doubts); n > 0 && f.doubts[n-1].sequence > row.sequence {
		for i := range row.values {
			if f.doubtful(row.sequence, f.names[i]) {
				row.values[i], row.whole = Value{}, false
			}
		}
	}
	row.sequence = sequence
}

// End says that a transaction is whole. Rows that share a key for a moment are
// no more than that by now; where one is left over, its delete is missing.
func (f *Fold) End() {
	for _, key := range f.doubled {
		for row := f.rows[key]; row != nil && row.next != nil; row = f.rows[key] {
			if f.doubtful(row.sequence, "") {
				f.breaks.Explained++
			} else {
				f.breaks.add(Break{Sequence: row.next.sequence, Before: row.sequence, Key: key, Kind: Undeleted})
			}
			f.rows[key] = row.next
			f.size--
		}
	}
	f.doubled = f.doubled[:0]
}

// like reports whether two known values are the same but for the type that the
// column had: a bigint that became text is a string with the same digits. A
// column that the configuration keeps secret from some day on may have any value,
// and so may one whose token nobody could open.
func (v Value) like(w Value) bool {
	if v == w || v.Token() || w.Token() {
		return true
	}
	if v.Kind == w.Kind || v.Kind == Null || w.Kind == Null {
		return false
	}
	return v.Secret() || w.Secret() || v.Text == w.Text || v.Postgres() == w.Postgres()
}
