package trail

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// life is a row under one resource id, folded entry by entry.
type life struct {
	id            string
	key           []string // columns; nil until an entry shows them
	schema, table string
	standing      Standing
	columns       []StateColumn
	whole         bool // seen from its creation on
	created       *Mark
	changed       *Mark
	renamedTo     string
	renamedFrom   string
}

func newLife(q StateQuery) *life { return &life{id: q.ResourceID, key: q.Key, standing: Unheard} }

// apply takes the next entry under this id. A non-empty origin is the id that
// the row had before this entry: its life under that id must be given to
// continues.
func (l *life) apply(e *audit.Entry) (origin string, err error) {
	old, err := ParseRow(e.OldValues)
	if err != nil {
		return "", fmt.Errorf("entry %d: old_values: %w", e.Sequence, err)
	}
	now, err := ParseRow(e.NewValues)
	if err != nil {
		return "", fmt.Errorf("entry %d: new_values: %w", e.Sequence, err)
	}
	if e.Operation.String() == "truncate" {
		if l.standing == Exists && l.in(e) {
			l.standing, l.changed = Truncated, mark(e)
		}
		return "", nil
	}
	l.learnKey(e, l.id, newer(old, now))
	switch e.Operation.String() {
	case "insert":
		*l = life{id: l.id, key: l.key, standing: Exists, whole: true, created: mark(e)}
		l.set(now, mark(e))
	case "baseline":
		l.found(now, e)
	case "update":
		if before := old.key(l.key); before != "" && before != l.id {
			return before, nil
		}
		if l.standing != Exists {
			*l = life{id: l.id, key: l.key, standing: Exists}
		}
		l.set(old.beyond(now), nil)
		l.set(now, mark(e))
	case "delete":
		if l.standing == Exists && !l.in(e) {
			return "", nil // of another partition, which the row has left
		}
		l.set(old, nil)
		l.standing = Deleted
	}
	l.schema, l.table, l.changed = e.SchemaName.String(), e.TableName.String(), mark(e)
	return "", nil
}

// found takes the row as the baseline found it: it was there before, as far as
// entries do not tell otherwise.
func (l *life) found(now Row, e *audit.Entry) {
	if l.standing != Exists {
		*l = life{id: l.id, key: l.key, standing: Exists}
	}
	for _, f := range now {
		if i := l.find(f.Name); i < 0 || l.columns[i].Value != f.Value {
			l.set(Row{f}, nil)
			l.columns[l.find(f.Name)].Told = mark(e)
		}
	}
	l.whole = true
}

// in reports whether an entry is about the table that the row is in.
func (l *life) in(e *audit.Entry) bool {
	return l.schema == e.SchemaName.String() && l.table == e.TableName.String()
}

// newer is the newest image that an entry has.
func newer(old, now Row) Row {
	if now != nil {
		return now
	}
	return old
}

// learnKey finds the key columns in the image of a row called id.
func (l *life) learnKey(e *audit.Entry, id string, row Row) {
	if len(l.key) > 0 {
		return
	}
	for _, column := range keyOf(row, id, e.Changed) {
		l.key = append(l.key, strings.Clone(column))
	}
}

// continues goes on with the row that e gave this id, whose life so far was
// before.
func (l *life) continues(before *life, e *audit.Entry) error {
	now, err := ParseRow(e.NewValues)
	if err != nil {
		return fmt.Errorf("entry %d: new_values: %w", e.Sequence, err)
	}
	*l = life{id: l.id, key: l.key, standing: Exists, schema: e.SchemaName.String(), table: e.TableName.String(), renamedFrom: before.id}
	if before.standing == Exists {
		l.columns, l.whole, l.created = before.columns, before.whole, before.created
	}
	l.set(now, mark(e))
	l.changed = mark(e)
	return nil
}

// beyond is the part of an old image that the new one does not have.
func (r Row) beyond(now Row) Row {
	return without(r, func(f Field) bool { return now.Get(f.Name).Known() })
}

// set takes the values of an entry. A column that has the value already keeps
// the mark of the entry that set it.
func (l *life) set(row Row, by *Mark) {
	for _, f := range row {
		i := l.find(f.Name)
		if i < 0 {
			i = len(l.columns)
			l.columns = append(l.columns, StateColumn{Name: strings.Clone(f.Name)})
		}
		if c := &l.columns[i]; c.Value != f.Value {
			c.Value, c.Set, c.Told = Value{f.Value.Kind, strings.Clone(f.Value.Text)}, by, nil
		}
	}
}

func (l *life) find(column string) int {
	return slices.IndexFunc(l.columns, func(c StateColumn) bool { return c.Name == column })
}

// lookAhead reads the entries after a moment, oldest first, for what their old
// values tell about the row at that moment.
type lookAhead struct {
	life    *life
	touched map[string]bool // columns that were set since, so that old values tell no more
}

func newLookAhead(l *life) *lookAhead { return &lookAhead{l, make(map[string]bool)} }

// apply takes the next later entry; done ends the reading.
func (a *lookAhead) apply(e *audit.Entry) (done bool, err error) {
	old, err := ParseRow(e.OldValues)
	if err != nil {
		return false, fmt.Errorf("entry %d: old_values: %w", e.Sequence, err)
	}
	now, err := ParseRow(e.NewValues)
	if err != nil {
		return false, fmt.Errorf("entry %d: new_values: %w", e.Sequence, err)
	}
	l := a.life
	switch e.Operation.String() {
	case "truncate":
		return l.standing == Exists && l.in(e), nil
	case "baseline":
		// It was there, and what no entry told otherwise since was as it is here.
		if l.standing == Unheard {
			l.standing, l.schema, l.table = Exists, e.SchemaName.String(), e.TableName.String()
		}
		a.tell(now, nil, mark(e))
		l.whole = l.standing == Exists
		return true, nil
	case "insert":
		if l.standing == Unheard {
			l.standing, l.created = NotYet, mark(e)
			l.schema, l.table = e.SchemaName.String(), e.TableName.String()
		}
		return true, nil
	}
	l.learnKey(e, l.id, newer(old, now))
	if before := old.key(l.key); before != "" && before != l.id {
		// The row came from another id, so that none had this one before.
		if l.standing == Unheard {
			l.standing, l.created, l.renamedFrom = NotYet, mark(e), before
		}
		return true, nil
	}
	if l.standing == Unheard {
		l.standing, l.schema, l.table = Exists, e.SchemaName.String(), e.TableName.String()
	}
	a.tell(old, now, mark(e))
	return e.Operation.String() == "delete", nil
}

// leave takes the later entry that gave the row another id, and is the first
// that tells of it.
func (a *lookAhead) leave(e *audit.Entry) error {
	old, err := ParseRow(e.OldValues)
	if err != nil {
		return fmt.Errorf("entry %d: old_values: %w", e.Sequence, err)
	}
	now, err := ParseRow(e.NewValues)
	if err != nil {
		return fmt.Errorf("entry %d: new_values: %w", e.Sequence, err)
	}
	a.life.standing, a.life.schema, a.life.table = Exists, e.SchemaName.String(), e.TableName.String()
	a.tell(old, now, mark(e))
	return nil
}

// tell learns from the images of an entry. Columns that it sets without telling
// their old value stay unknown.
func (a *lookAhead) tell(old, now Row, by *Mark) {
	for _, f := range append(slices.Clone(old), now...) {
		if a.touched[f.Name] {
			continue
		}
		i := a.life.find(f.Name)
		if i < 0 {
			i = len(a.life.columns)
			a.life.columns = append(a.life.columns, StateColumn{Name: strings.Clone(f.Name)})
		}
		if v := old.Get(f.Name); v.Known() && !a.life.columns[i].Value.Known() {
			a.life.columns[i].Value, a.life.columns[i].Told = Value{v.Kind, strings.Clone(v.Text)}, by
		}
	}
	for _, f := range now {
		a.touched[strings.Clone(f.Name)] = true
	}
}
