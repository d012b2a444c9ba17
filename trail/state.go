package trail

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// StateQuery asks what a row was at a moment.
type StateQuery struct {
	Stream       string
	ResourceType string
	ResourceID   string    // as in the entries: key columns joined by "/"
	At           time.Time // zero: after the last entry
	// Key lists the key columns of the table, in key order. Without it they are
	// found by comparing values with the resource id.
	Key []string
}

// Standing says whether a row was there.
type Standing string

// The standings.
const (
	Exists    Standing = "exists"
	Deleted   Standing = "deleted"
	Truncated Standing = "truncated" // gone with its whole table
	Renamed   Standing = "renamed"   // its key was changed: the row has another id since
	NotYet    Standing = "not yet"   // created later
	Unheard   Standing = "unheard"   // no entry tells of it
)

// State is a row at a moment, as far as the trail tells.
type State struct {
	Stream       string
	ResourceType string
	ResourceID   string
	Schema       string // of the table that the row is in
	Table        string
	At           time.Time // what was asked for; zero: the present
	Sequence     uint64    // the last entry of the stream at that moment; the state holds until the next
	Recorded     bool      // the trail had begun by then
	Standing     Standing

	// Columns are those that are known of the row, or known to belong to its
	// table; of a row that is gone, as they were before. In table order as far
	// as entries tell it.
	Columns []StateColumn
	// Complete: the trail has seen the row from its creation on. Otherwise it
	// may have more columns than those listed.
	Complete    bool
	Created     *Mark
	Changed     *Mark  // the last entry that touched the row, or took it away
	RenamedTo   string // the id that a renamed row has since
	RenamedFrom string // the id that the row had before its key became this one
}

// StateColumn is one column of a State.
type StateColumn struct {
	Name  string
	Value Value // Unknown when no entry tells
	// Set is the entry that gave the column its value; nil when the value is
	// older than the trail.
	Set *Mark
	// Told is the later entry from whose old values the value is known.
	Told *Mark
}

// Mark points to an entry.
type Mark struct {
	Sequence uint64
	Time     time.Time
	Action   string
	Actor    string // as a sentence names the actor; safe to print
}

func mark(e *audit.Entry) *Mark {
	return &Mark{e.Sequence, time.UnixMicro(e.Timestamp).UTC(), e.Action.String(), Who(e)}
}

// State folds the entries about one row up to a moment. The moment is a place
// in the chain: behind the last entry that was committed at or before At.
//
// A change of the key ends the row under its old id and goes on under the new
// one, with all it was before. Where the row is older than the trail, its
// columns are taken from the old values of later entries as far as these tell.
func (t *Trail) State(ctx context.Context, q StateQuery) (*State, error) {
	if q.Stream == "" || q.ResourceType == "" || q.ResourceID == "" {
		return nil, audit.WithHint(errors.New("ask for a state: stream, type and id are needed"), "pgwitness state order 1234 --at yesterday")
	}
	last, recorded, err := t.sequenceAt(ctx, q.Stream, q.At)
	if err != nil {
		return nil, fmt.Errorf("find the moment in the chain: %w", err)
	}
	s := &State{Stream: q.Stream, ResourceType: q.ResourceType, ResourceID: q.ResourceID, At: q.At, Sequence: last, Recorded: recorded}
	l := newLife(q)
	if recorded {
		if l, err = t.life(ctx, q, last, 0); err != nil {
			return nil, fmt.Errorf("state of %s %s: %w", q.ResourceType, q.ResourceID, err)
		}
	}
	if recorded && !l.whole && (l.standing == Exists || l.standing == Unheard) {
		if err := t.lookAhead(ctx, q, l, last); err != nil {
			return nil, fmt.Errorf("state of %s %s: read on: %w", q.ResourceType, q.ResourceID, err)
		}
	}
	s.Standing, s.Columns, s.Complete = l.standing, l.columns, l.whole
	s.Created, s.Changed, s.RenamedTo, s.RenamedFrom = l.created, l.changed, l.renamedTo, l.renamedFrom
	s.Schema, s.Table = l.schema, l.table
	return s, nil
}

// sequenceAt is the last entry committed at or before at, the highest by
// sequence: commit times may step back a little, positions never do.
func (t *Trail) sequenceAt(ctx context.Context, stream string, at time.Time) (last uint64, ok bool, err error) {
	var c conditions
	c.add("stream = {stream:String}", "stream", stream)
	if !at.IsZero() {
		c.add("timestamp <= fromUnixTimestamp64Micro({at:Int64}, 'UTC')", "at", at.UnixMicro())
	}
	var sequence proto.ColUInt64
	text := "SELECT sequence FROM audit_logs" + c.where() + " ORDER BY stream DESC, sequence DESC LIMIT 1" + chainOrder
	err = t.receive(ctx, query{text, c.params}, proto.Results{{Name: "sequence", Data: &sequence}}, func() error {
		for _, n := range sequence {
			last, ok = n, true
		}
		return nil
	})
	return last, ok, err
}

// maxRenames bounds how far a row is followed back through changes of its key.
const maxRenames = 32

// life folds the entries about a row up to and including sequence last. depth
// counts the renames followed so far.
func (t *Trail) life(ctx context.Context, q StateQuery, last uint64, depth int) (*life, error) {
	if depth > maxRenames {
		return nil, fmt.Errorf("the key was changed more than %d times", maxRenames)
	}
	l := newLife(q)
	for e, err := range t.about(ctx, q, "sequence <= {last:UInt64}", last) {
		if err != nil {
			return nil, err
		}
		origin, err := l.apply(e)
		if err != nil {
			return nil, err
		}
		if origin == "" {
			continue
		}
		from := q
		from.ResourceID, from.Key = origin, l.key
		before, err := t.life(ctx, from, e.Sequence-1, depth+1)
		if err != nil {
			return nil, err
		}
		if err := l.continues(before, e); err != nil {
			return nil, err
		}
	}
	return l, t.renamedAway(ctx, q, l, last)
}

// renamedAway looks for the entry that gave the row another key, after its last
// entry under this one. Such an entry stands under the new id, so that it is
// found by its changed columns: there are few that change a key.
func (t *Trail) renamedAway(ctx context.Context, q StateQuery, l *life, last uint64) error {
	first := uint64(0)
	switch {
	case l.standing == Exists:
		first = l.changed.Sequence + 1
	case l.standing != Unheard:
		return nil
	}
	e, err := t.firstRename(ctx, q, l, first, last)
	if err != nil || e == nil {
		return err
	}
	l.standing, l.renamedTo, l.changed = Renamed, e.ResourceID.String(), mark(e)
	l.schema, l.table = e.SchemaName.String(), e.TableName.String()
	return nil
}

// firstRename finds the first entry from first to last that changed the key of
// the row; nil when there is none.
func (t *Trail) firstRename(ctx context.Context, q StateQuery, l *life, first, last uint64) (*audit.Entry, error) {
	if len(l.key) == 0 {
		if err := t.tableKey(ctx, q, l); err != nil {
			return nil, err
		}
	}
	if len(l.key) == 0 || first > last {
		return nil, nil
	}
	var c conditions
	c.add("stream = {stream:String}", "stream", q.Stream)
	c.add("resource_type = {resource_type:String}", "resource_type", q.ResourceType)
	c.add("resource_id != {resource_id:String}", "resource_id", q.ResourceID)
	c.add("sequence >= {first:UInt64}", "first", first)
	c.add("sequence <= {last:UInt64}", "last", last)
	// Without the whole old row nobody knows what changed, but then an old key
	// is recorded only when the key changed.
	c.add(textOfOperation+" = 'update' AND (hasAny(changed, splitByChar('\\0', {key:String})) OR empty(changed) AND old_values IS NOT NULL)",
		"key", joinNames(l.key))
	for e, err := range t.entries(ctx, query{selectOldest(c) + chainOrder, c.params}) {
		if err != nil {
			return nil, err
		}
		old, err := ParseRow(e.OldValues)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Sequence, err)
		}
		if old.key(l.key) == q.ResourceID {
			out := store.Clone(e)
			return &out, nil
		}
	}
	return nil, nil
}

// tableKey finds the key columns in the newest entry about another row.
func (t *Trail) tableKey(ctx context.Context, q StateQuery, l *life) error {
	var c conditions
	c.add("stream = {stream:String}", "stream", q.Stream)
	c.add("resource_type = {resource_type:String}", "resource_type", q.ResourceType)
	c.parts = append(c.parts, "resource_id IS NOT NULL AND operation IN ('insert', 'update', 'baseline')")
	text := store.Select(c.all(), "ORDER BY stream DESC, sequence DESC LIMIT 1")
	for e, err := range t.entries(ctx, query{text, c.params}) {
		if err != nil {
			return err
		}
		row, err := ParseRow(e.NewValues)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Sequence, err)
		}
		l.learnKey(e, e.ResourceID.String(), row)
	}
	return nil
}

// lookAhead completes what is known of a row that is older than the trail, or
// than its first entry, from the entries after last.
func (t *Trail) lookAhead(ctx context.Context, q StateQuery, l *life, last uint64) error {
	later := newLookAhead(l)
	for e, err := range t.about(ctx, q, "sequence > {last:UInt64}", last) {
		if err != nil {
			return err
		}
		done, err := later.apply(e)
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if l.standing == Unheard {
		// Nothing under this id: but it may have been the row's id until a rename.
		e, err := t.firstRename(ctx, q, l, last+1, math.MaxUint64)
		if err != nil || e == nil {
			return err
		}
		if err := later.leave(e); err != nil {
			return err
		}
	}
	if l.standing != Exists {
		return nil
	}
	return t.otherColumns(ctx, q, l)
}

// otherColumns adds the columns that other rows of the table have, with an
// unknown value.
func (t *Trail) otherColumns(ctx context.Context, q StateQuery, l *life) error {
	var c conditions
	c.add("stream = {stream:String}", "stream", q.Stream)
	c.add("resource_type = {resource_type:String}", "resource_type", q.ResourceType)
	c.add("table_name = {table:String}", "table", l.table)
	c.add("schema_name = {schema:String}", "schema", l.schema)
	c.parts = append(c.parts, "operation IN ('insert', 'baseline')")
	text := store.Select(c.all(), "ORDER BY stream DESC, sequence DESC LIMIT 1")
	for e, err := range t.entries(ctx, query{text, c.params}) {
		if err != nil {
			return err
		}
		row, err := ParseRow(e.NewValues)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Sequence, err)
		}
		ordered := make([]StateColumn, 0, len(row))
		for _, f := range row {
			if i := l.find(f.Name); i >= 0 {
				ordered = append(ordered, l.columns[i])
			} else {
				ordered = append(ordered, StateColumn{Name: f.Name})
			}
		}
		for _, column := range l.columns {
			if !slices.ContainsFunc(row, func(f Field) bool { return f.Name == column.Name }) {
				ordered = append(ordered, column)
			}
		}
		l.columns = ordered
	}
	return nil
}
