// Package trail reads the trail back: the investigation in sentences, the state
// of a row at a moment, the fold of a table, and the counts that say who did
// how much and how much of it is attributed.
//
// Everything here is computed from entries, whose values were chosen by others:
// whatever goes to a terminal passes through quote, escape and name, so that a
// value can neither move the cursor nor pretend to be part of a sentence.
//
// State and Fold say what they do not know. A column that the log did not hold,
// or a row that was there before the trail began, is unknown, not NULL.
//
// This package never writes, neither to ClickHouse nor to PostgreSQL, and never
// checks hashes: that an entry is genuine is the business of verify.
package trail

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Trail reads from one ClickHouse server. It can be asked from many goroutines:
// each question has a connection for itself. A connection is closed a second
// after its last question, so nobody has to close a Trail.
type Trail struct {
	connections *connections
	opener      *opener // nil: tokens stay
}

// New returns a Trail that reads from server, as a user who may SELECT from
// audit_logs.
func New(server store.Server) *Trail { return &Trail{connections: &connections{server: server}} }

// Entries yields the entries that f asks for, in the order it asks for. Of
// more entries than the limit, the newest are yielded; More tells that there
// are others. The entry is one and the same, refilled: store.Clone keeps it.
// An error is the last thing yielded, with a nil entry.
func (t *Trail) Entries(ctx context.Context, f Filter) iter.Seq2[*audit.Entry, error] {
	return func(yield func(*audit.Entry, error) bool) {
		if err := f.Validate(); err != nil {
			yield(nil, err)
			return
		}
		t.entries(ctx, f.query())(yield)
	}
}

// More reports whether f matches entries beyond its limit, which Entries left
// out.
func (t *Trail) More(ctx context.Context, f Filter) (bool, error) {
	n := limit(f.Limit, DefaultLimit)
	if n == 0 {
		return false, nil
	}
	c := f.conditions()
	c.params = append(c.params, store.Param("limit", n))
	var sequence proto.ColUInt64
	text := "SELECT sequence FROM audit_logs" + c.where() + " LIMIT 1 OFFSET {limit:UInt64}"
	found := false
	err := t.receive(ctx, query{text, c.params}, proto.Results{{Name: "sequence", Data: &sequence}}, func() error {
		found = found || len(sequence) > 0
		return nil
	})
	return found, err
}

// query is a statement and the values of its parameters.
type query struct {
	text   string
	params []proto.Parameter
}

// entries runs q, whose columns are those of an entry.
func (t *Trail) entries(ctx context.Context, q query) iter.Seq2[*audit.Entry, error] {
	if t.opener != nil {
		return t.opener.opened(ctx, t.sealed(ctx, q))
	}
	return t.sealed(ctx, q)
}

// sealed is entries as they are stored.
func (t *Trail) sealed(ctx context.Context, q query) iter.Seq2[*audit.Entry, error] {
	return func(yield func(*audit.Entry, error) bool) {
		over := false // an error was told, or nobody wants more
		err := t.connections.with(ctx, func(client *ch.Client) error {
			for e, err := range store.Entries(ctx, client, q.text, q.params...) {
				if over = !yield(e, err) || err != nil; over {
					return errOver
				}
			}
			return nil
		})
		if err != nil && !over {
			yield(nil, err)
		}
	}
}

// errOver closes the connection of a question whose answer is not read to its end.
var errOver = errors.New("over")

// receive runs q and calls use after each block of its result. The results keep
// their rows only until use returns.
func (t *Trail) receive(ctx context.Context, q query, results proto.Results, use func() error) error {
	return t.connections.with(ctx, func(client *ch.Client) error {
		err := store.Receive(ctx, client, ch.Query{Body: q.text, Parameters: q.params, Result: results}, use)
		if err != nil {
			return fmt.Errorf("read the trail: %w", err)
		}
		return nil
	})
}
