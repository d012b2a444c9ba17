package trail

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// ErrOtherKey says that a table cannot be folded from its beginning, because its
// key was another one then, or it was another table.
var ErrOtherKey = errors.New("the table had another key")

// LastBaseline is the sequence of the entry with which the last baseline of a
// table began that was completed: from there on every row of it is told of,
// whatever was before. 0: it has none.
func (t *Trail) LastBaseline(ctx context.Context, r Review, table Table) (uint64, error) {
	c := r.conditions()
	c.add("schema_name = {schema:String}", "schema", table.Schema)
	c.add("table_name = {table:String}", "table", table.Name)
	c.add("resource_type = {resource:String}", "resource", baselineResource)
	text := `SELECT arrayMax(arrayFilter(x -> x < completed, started)) AS sequence FROM (
		SELECT arrayConcat([toUInt64(0)], groupArrayIf(sequence, action = 'baseline_started')) AS started, maxIf(sequence, action = 'baseline_completed') + 1 AS completed
		  FROM audit_logs` + c.where() + ")"
	var sequence proto.ColUInt64
	var last uint64
	err := t.receive(ctx, query{text, c.params}, proto.Results{{Name: "sequence", Data: &sequence}}, func() error {
		for _, n := range sequence {
			last = n
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("find the last baseline of %s: %w", table, err)
	}
	return last, nil
}

// baselineResource is the resource_type of the entries that frame the baseline
// of a table: its rows, read once, among the changes that went on meanwhile.
const baselineResource = "pgwitness.baseline"

// addBaselineNote applies an entry that frames a baseline.
//
// From baseline_started on, every row of the table is told of: by its baseline
// entry, or by the change that made it. So at baseline_completed the table is
// known, whatever was known before: rows that no entry told of since are gone,
// and that changes of unseen rows came before is no break.
func (f *Fold) addBaselineNote(e *audit.Entry) error {
	switch e.Action.String() {
	case "baseline_started":
		details, err := ParseRow(e.NewValues)
		if err != nil {
			return fmt.Errorf("apply entry %d: details of the baseline: %w", e.Sequence, err)
		}
		if f.era++; details.Get("rows_before").Text == "replaced" {
			f.clear()
			f.doubts = nil // they were of rows that are replaced
		}
	case "baseline_completed":
		f.forget()
		f.breaks.First = slices.DeleteFunc(f.breaks.First, func(b Break) bool { return b.Kind == Unseen })
		f.breaks.Count -= f.breaks.Kinds[Unseen]
		delete(f.breaks.Kinds, Unseen)
		f.complete = true
	}
	return nil
}

// forget drops the rows that no entry told of since the baseline began.
func (f *Fold) forget() {
	for key, row := range f.rows {
		var kept []*foldRow
		for ; row != nil; row = row.next {
			if row.era == f.era {
				kept = append(kept, row)
				continue
			}
			f.size--
		}
		if len(kept) == 0 {
			delete(f.rows, key)
			continue
		}
		for i, row := range kept[1:] {
			kept[i].next = row
		}
		kept[len(kept)-1].next = nil
		f.rows[key] = kept[0]
	}
}
