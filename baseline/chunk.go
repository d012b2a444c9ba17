package baseline

import (
	"context"
	"fmt"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
)

const (
	// chunkBytes is the size of the values at which a chunk is full although
	// it could have more rows, and keylessBytes that above which a table
	// without a key is not read.
	chunkBytes   = 8 << 20
	keylessBytes = 64 << 20
	// firstFetch is how many rows are fetched before their size is known.
	firstFetch = 16
)

// bounds of a chunk.
type bounds struct{ rows, bytes int }

// read reads the rows of t behind a key into chunk id, up to the first bound
// that is met. last: there are no more.
//
// The lock is taken before the snapshot, because a TRUNCATE or a rewrite of the
// table that commits in between would hide rows from the snapshot that are
// there. It conflicts with nothing that an application does.
func (c *session) read(ctx context.Context, id audit.ChunkID, t *table, after []string, b bounds) (p portion, err error) {
	defer func() {
		if err != nil {
			// What failed ends the transaction or the connection.
			_, _ = c.ask(context.WithoutCancel(ctx), "give up", "ROLLBACK")
		}
	}()
	what := "read rows of " + t.title()
	if _, err = c.ask(ctx, what, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE "+t.sql()+" IN ACCESS SHARE MODE"); err != nil {
		return p, err
	}
	l, err := c.relation(ctx, t)
	if err != nil {
		return p, fmt.Errorf("%s: %w", what, err)
	}
	if _, err = c.ask(ctx, what, "DECLARE chunk NO SCROLL CURSOR FOR "+t.query(l.relation, after, b.rows)); err != nil {
		return p, err
	}
	p = portion{chunk: &audit.Chunk{ID: id, Relation: l.relation, Snapshot: l.snapshot}, position: l.position}
	if err = c.fetch(ctx, what, &p, b); err != nil {
		return p, err
	}
	_, err = c.ask(ctx, what, "COMMIT")
	return p, err
}

// portion is what was read in one transaction.
type portion struct {
	chunk    *audit.Chunk
	bytes    int
	position audit.LSN // of the log, some time before the high mark
	last     bool      // there are no rows behind it
}

// fetch fills p, by so many rows at a time as those before suggest.
func (c *session) fetch(ctx context.Context, what string, p *portion, b bounds) error {
	for n := firstFetch; ; {
		n = max(1, min(n, b.rows-len(p.chunk.Rows)))
		r, err := c.ask(ctx, what, "FETCH "+strconv.Itoa(n)+" FROM chunk")
		if err != nil {
			return err
		}
		for _, values := range r.rows {
			row, size := tuple(values)
			p.chunk.Rows, p.bytes = append(p.chunk.Rows, row), p.bytes+size
		}
		got := len(p.chunk.Rows)
		switch {
		case len(r.rows) < n:
			p.last = got < b.rows
			return nil
		case got >= b.rows || p.bytes >= b.bytes:
			return nil
		}
		n = min(8*n, 1+(b.bytes-p.bytes)/(1+p.bytes/got))
	}
}

// tuple makes a row of its values.
func tuple(values [][]byte) (audit.Tuple, int) {
	row, n := make(audit.Tuple, len(values)), 0
	for i, v := range values {
		if v == nil {
			row[i] = audit.Value{Kind: audit.Null}
			continue
		}
		row[i] = audit.Value{Kind: audit.Literal, Data: v}
		n += len(v)
	}
	return row, n
}

// keyOf is the key of the last row, nil when there are none.
func keyOf(t *table, chunk *audit.Chunk) []string {
	if len(chunk.Rows) == 0 {
		return nil
	}
	row := chunk.Rows[len(chunk.Rows)-1]
	var key []string
	for _, k := range t.Key {
		for i, column := range chunk.Relation.Columns {
			if column.Name == k.Name {
				key = append(key, string(row[i].Data))
			}
		}
	}
	return key
}

// snapshot reads what a statement sees now.
func (c *session) snapshot(ctx context.Context) (audit.Snapshot, error) {
	r, err := c.ask(ctx, "read snapshot", "SELECT pg_catalog.pg_current_snapshot() AS snapshot")
	if err != nil {
		return audit.Snapshot{}, err
	}
	return audit.ParseSnapshot(r.value("snapshot"))
}
