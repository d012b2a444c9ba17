package trail

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// LiveTable is a table as it stands in PostgreSQL, every value in the text form
// that PostgreSQL writes into the log, too.
type LiveTable struct {
	Columns []LiveColumn
	// Rows yields the values of each row, index for index with Columns; nil is
	// NULL. The memory is lent until the next row.
	Rows iter.Seq2[[][]byte, error]
}

// LiveColumn is a column of a LiveTable.
type LiveColumn struct {
	Name string
	// Generated columns are not in the log, unless published on purpose.
	Generated bool
}

// Comparison is the outcome of comparing a fold with the live table.
type Comparison struct {
	Rows      int // of the live table
	Same      int // that the fold has, with the same values in all columns
	Missing   int // that the fold does not have
	Extra     int // that only the fold has
	Different int // with another value in at least one column
	Unknown   int // with nothing different, but a column whose value no entry tells
	Explained int // rows only of the fold that may be gone: the trail says that it missed changes since it saw them

	// First are the first differences of each kind: rows that are missing, extra
	// or different. The order is that of the live table, then that of the keys.
	First []Difference
	// UnknownColumns counts the rows in which a column is unknown, by column.
	UnknownColumns map[string]int
}

const keptDifferences = 100

// Exact reports whether the fold is the table, to the last value.
func (c Comparison) Exact() bool {
	return c.Missing == 0 && c.Extra == 0 && c.Different == 0 && c.Unknown == 0
}

// String tells the numbers, and no values.
func (c Comparison) String() string {
	return fmt.Sprintf("%s: %d same, %d different, %d with unknown values, %d missing in the trail, %d only in the trail",
		count(c.Rows, "live row", "live rows"), c.Same, c.Different, c.Unknown, c.Missing, c.Extra)
}

// Difference is a row that is not the same in the trail and in the table.
type Difference struct {
	Kind     DifferenceKind
	Key      string             // resource_id; "" in a table without a key
	Columns  []ColumnDifference // that differ; for a missing or extra row all of them
	Sequence uint64             // of the last entry about the row; 0 when there is none
}

// DifferenceKind says which side lacks the row.
type DifferenceKind string

// The kinds of differences.
const (
	MissingRow   DifferenceKind = "missing"   // the table has it, the trail does not
	ExtraRow     DifferenceKind = "extra"     // the trail has it, the table does not
	DifferentRow DifferenceKind = "different" // both have it, with different values
)

// ColumnDifference is one column of a Difference. Booleans of the live table
// are the strings t and f. The value on the side that lacks the row is Unknown.
type ColumnDifference struct {
	Name        string
	Trail, Live Value
}

// String names the row and the columns, without any value but the key.
func (d Difference) String() string {
	names := make([]string, len(d.Columns))
	for i, c := range d.Columns {
		names[i] = word(c.Name)
	}
	return fmt.Sprintf("%s %s (%s)", d.Kind, or(word(d.Key), "row without key"), strings.Join(names, ", "))
}

func (c *Comparison) differ(d Difference) {
	switch d.Kind {
	case MissingRow:
		c.Missing++
	case ExtraRow:
		c.Extra++
	case DifferentRow:
		c.Different++
	}
	c.keep(d)
}

// keep keeps the first differences of each kind: those of one must not push
// out those of another.
func (c *Comparison) keep(d Difference) {
	same := 0
	for i := range c.First {
		if c.First[i].Kind == d.Kind {
			same++
		}
	}
	if same < keptDifferences {
		c.First = append(c.First, d)
	}
}

// comparing is a comparison under way.
type comparing struct {
	Comparison
	fold  *Fold
	live  []int // columns of the live table that count
	names []string
	index []int        // live[i] in the fold; -1 when no row ever had it
	key   []int        // key columns in the live table
	veil  map[int]bool // without a key: which of live are secret in the trail
	// pseudonyms says that the key of a row of the fold is a token that was not
	// opened, so that nobody can tell which live row it is.
	pseudonyms bool

	left map[string]int // without a key: rows of the fold by their values, not yet met
}

// Compare compares the rows of the fold with those of the live table, which
// must be the table at the same moment. A generated column counts only when the
// fold has it. A column that a row got after its last entry, by ADD COLUMN, is
// equal to NULL, and unknown when it has a value, for the log never tells of
// it.
func (f *Fold) Compare(table LiveTable) (Comparison, error) {
	c, err := f.compareWith(table.Columns)
	if err != nil {
		return Comparison{}, err
	}
	for values, err := range table.Rows {
		if err != nil {
			return Comparison{}, fmt.Errorf("compare %s.%s: %w", f.schema, f.table, err)
		}
		c.Rows++
		if c.left != nil {
			c.bagged(values)
		} else {
			c.keyed(values)
		}
	}
	c.extra()
	return c.Comparison, nil
}

func (f *Fold) compareWith(columns []LiveColumn) (*comparing, error) {
	f.round++
	c := &comparing{fold: f, Comparison: Comparison{UnknownColumns: map[string]int{}}}
	for i, col := range columns {
		at, ok := f.columns[col.Name]
		if !ok {
			at = -1
		}
		if col.Generated && !ok {
			continue
		}
		c.live, c.names, c.index = append(c.live, i), append(c.names, col.Name), append(c.index, at)
	}
	key, err := LiveTable{Columns: columns}.indexes(f.key)
	if err != nil {
		return nil, fmt.Errorf("compare %s.%s: %w", f.schema, f.table, err)
	}
	c.key, c.pseudonyms = key, f.pseudonyms()
	if len(f.key) == 0 {
		c.left = make(map[string]int, len(f.bag))
		c.veil = c.secrets()
		for _, b := range f.bag {
			c.left[c.signature(b.values)] += b.count
		}
	}
	return c, nil
}

// pseudonyms reports whether a key of the fold is a token.
func (f *Fold) pseudonyms() bool {
	for key := range f.rows {
		for part := range strings.SplitSeq(key, "/") {
			if _, ok := audit.ParseToken(part); ok {
				return true
			}
		}
	}
	return false
}

// keyed compares a live row with the row of its key that is most like it.
func (c *comparing) keyed(values [][]byte) {
	key := liveKey(c.key, values)
	var best *foldRow
	var differ, unknown []ColumnDifference
	for row := c.fold.rows[key]; row != nil; row = row.next {
		if row.round == c.fold.round {
			continue // another live row met it
		}
		if d, u := c.columnsOf(row, values); best == nil || len(d) < len(differ) {
			best, differ, unknown = row, d, u
		}
	}
	if best == nil && c.pseudonyms {
		c.Unknown++ // one of the rows whose key does not open may be it
		return
	}
	if best == nil {
		c.differ(Difference{Kind: MissingRow, Key: key, Columns: c.sides(nil, values)})
		return
	}
	best.round = c.fold.round
	for _, u := range unknown {
		c.UnknownColumns[u.Name]++
	}
	switch {
	case len(differ) > 0:
		c.differ(Difference{DifferentRow, key, differ, best.sequence})
	case len(unknown) > 0:
		c.Unknown++
	default:
		c.Same++
	}
}

func liveValue(text []byte) Value {
	if text == nil {
		return Value{Kind: Null}
	}
	return Value{String, string(text)}
}

// columnsOf lists the columns in which a live row differs from row, and those
// that are unknown in row.
func (c *comparing) columnsOf(row *foldRow, values [][]byte) (differ, unknown []ColumnDifference) {
	for i, at := range c.live {
		trail, live := c.value(row.values, i), values[at]
		switch {
		case !trail.Known() && row.whole && live == nil, equal(trail, live):
		case !trail.Known(), trail.Token(), c.fold.doubtful(row.sequence, c.names[i]):
			unknown = append(unknown, ColumnDifference{c.names[i], trail, liveValue(live)})
		default:
			differ = append(differ, ColumnDifference{c.names[i], trail, liveValue(live)})
		}
	}
	return differ, unknown
}

// value is live column i of a row of the fold.
func (c *comparing) value(values []Value, i int) Value {
	if at := c.index[i]; at >= 0 && at < len(values) {
		return values[at]
	}
	return Value{}
}

// equal reports whether a known value is what PostgreSQL writes as live.
func equal(trail Value, live []byte) bool {
	if live == nil {
		return trail.Kind == Null
	}
	if trail.Secret() {
		return true // whatever it is: nobody can tell
	}
	return trail.Known() && trail.Kind != Null && (trail.Postgres() == string(live) || trail.Text == string(live))
}

// sides lists all columns, of the fold's row or of the live one.
func (c *comparing) sides(trail []Value, live [][]byte) []ColumnDifference {
	all := make([]ColumnDifference, len(c.live))
	for i, at := range c.live {
		all[i] = ColumnDifference{Name: c.names[i], Trail: c.value(trail, i)}
		if live != nil {
			all[i].Live = liveValue(live[at])
		}
	}
	return all
}

// bagged takes a row with these values out of the fold.
func (c *comparing) bagged(values [][]byte) {
	row := make([]Value, len(c.live))
	for i, at := range c.live {
		if row[i] = liveValue(values[at]); c.veil[i] && row[i].Kind != Null {
			row[i] = Value{}
		}
	}
	id := bagKey(row)
	if c.left[id] == 0 && len(c.fold.doubts) > 0 {
		c.Unknown++
		return
	}
	if c.left[id] == 0 {
		c.differ(Difference{Kind: MissingRow, Columns: c.sides(nil, values)})
		return
	}
	c.left[id]--
	c.Same++
}

// secrets are the live columns of which the trail holds no values.
func (c *comparing) secrets() map[int]bool {
	veil := make(map[int]bool)
	for _, b := range c.fold.bag {
		for i := range c.live {
			if v := c.value(b.values, i); v.Secret() || v.Token() {
				veil[i] = true
			}
		}
	}
	return veil
}

// signature is the bagKey that a live row with the values of a row of the fold
// has. A column the row never had reads as NULL.
func (c *comparing) signature(values []Value) string {
	row := make([]Value, len(c.live))
	for i := range c.live {
		switch v := c.value(values, i); v.Kind {
		case Unknown, Null:
			row[i] = Value{Kind: Null}
		default:
			if row[i] = (Value{String, v.Postgres()}); c.veil[i] {
				row[i] = Value{}
			}
		}
	}
	return bagKey(row)
}

// extra reports the rows of the fold that no live row met.
func (c *comparing) extra() {
	for _, b := range c.fold.bag {
		id := c.signature(b.values)
		for ; c.left[id] > 0; c.left[id]-- {
			if len(c.fold.doubts) > 0 {
				c.Explained++
				continue
			}
			c.differ(Difference{Kind: ExtraRow, Columns: c.sides(b.values, nil)})
		}
	}
	var keys []string
	for key, row := range c.fold.rows {
		for ; row != nil; row = row.next {
			if row.round != c.fold.round {
				keys = append(keys, key)
				break
			}
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		for row := c.fold.rows[key]; row != nil; row = row.next {
			if row.round != c.fold.round {
				c.extraRow(key, row)
			}
		}
	}
}

// extraRow reports a row of the fold, unless nobody can know that it is still
// there.
func (c *comparing) extraRow(key string, row *foldRow) {
	if c.pseudonyms && strings.Contains(key, audit.TokenPrefix) || c.fold.doubtful(row.sequence, "") {
		c.Explained++
		return
	}
	c.differ(Difference{ExtraRow, key, c.sides(row.values, nil), row.sequence})
}

// add takes in the comparison of another part of the same table.
func (c *Comparison) add(part Comparison) {
	c.Rows += part.Rows
	c.Same += part.Same
	c.Missing += part.Missing
	c.Extra += part.Extra
	c.Different += part.Different
	c.Unknown += part.Unknown
	c.Explained += part.Explained
	for _, d := range part.First {
		c.keep(d)
	}
	if c.UnknownColumns == nil {
		c.UnknownColumns = make(map[string]int)
	}
	for name, n := range part.UnknownColumns {
		c.UnknownColumns[name] += n
	}
}
