package trail

import (
	"context"
	"iter"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// textOfOperation is the operation as the index by_change of audit_logs has it:
// only a condition that is spelled so is looked up there.
const textOfOperation = "CAST(ifNull(operation, ''), 'String')"

// about yields the entries about a row, and every TRUNCATE of its table, within
// a range of sequences, in the order of commits. The entry is lent.
//
// They are two questions, because no order of entries has the answers to both
// side by side. The second has few answers, which are held in memory.
func (t *Trail) about(ctx context.Context, q StateQuery, within string, last uint64) iter.Seq2[*audit.Entry, error] {
	return func(yield func(*audit.Entry, error) bool) {
		truncates, err := t.truncates(ctx, q, within, last)
		if err != nil {
			yield(nil, err)
			return
		}
		c := ofType(q, within, last)
		c.add("resource_id = {resource_id:String}", "resource_id", q.ResourceID)
		c.parts = append(c.parts, "operation IN ('insert', 'update', 'delete', 'baseline')")
		for e, err := range t.entries(ctx, query{selectOldest(c), c.params}) {
			for err == nil && len(truncates) > 0 && truncates[0].Sequence < e.Sequence {
				if !yield(&truncates[0], nil) {
					return
				}
				truncates = truncates[1:]
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		for i := range truncates {
			if !yield(&truncates[i], nil) {
				return
			}
		}
	}
}

// ofType restricts to the stream and the type of a row, and to a range.
func ofType(q StateQuery, within string, last uint64) conditions {
	var c conditions
	c.add("stream = {stream:String}", "stream", q.Stream)
	c.add("resource_type = {resource_type:String}", "resource_type", q.ResourceType)
	c.add(within, "last", last)
	return c
}

// truncates reads every TRUNCATE of tables with the type of a row. Most often
// there is none, and looking for their sequences alone reads next to nothing.
func (t *Trail) truncates(ctx context.Context, q StateQuery, within string, last uint64) ([]audit.Entry, error) {
	c := ofType(q, within, last)
	c.parts = append(c.parts, textOfOperation+" = 'truncate'")
	var sequence proto.ColUInt64
	found := false
	text := "SELECT sequence FROM audit_logs" + c.where() + " LIMIT 1" + chainOrder
	err := t.receive(ctx, query{text, c.params}, proto.Results{{Name: "sequence", Data: &sequence}}, func() error {
		found = found || len(sequence) > 0
		return nil
	})
	if err != nil || !found {
		return nil, err
	}
	var all []audit.Entry
	for e, err := range t.entries(ctx, query{selectOldest(c) + chainOrder, c.params}) {
		if err != nil {
			return nil, err
		}
		all = append(all, store.Clone(e))
	}
	return all, nil
}
