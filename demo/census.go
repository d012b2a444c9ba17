package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Census counts the row changes that were committed in a database since it was
// opened, whoever made them and whatever their client heard of it. It has a
// replication slot of its own and lets PostgreSQL decode it, so its counts are
// exact after crashes too, include cascades and rows written by triggers, and
// share no code with the sidecar. The price is that the server keeps all
// write-ahead log until Close: it is for tests and benches.
type Census struct {
	dsn, slot, publication string
}

// NewCensus makes a census of the tables in a publication, which must exist
// before Open. slot is the name of a slot that does not exist yet; the role of
// the DSN must have REPLICATION.
func NewCensus(dsn, slot, publication string) *Census { return &Census{dsn, slot, publication} }

// Open creates the slot: changes committed from here on are counted.
func (c *Census) Open(ctx context.Context) error {
	return c.do(ctx, "open", []any{c.slot}, nil)
}

// Count returns everything counted since Open. It may be called repeatedly.
// A commit with synchronous_commit off may be missing for a moment after its
// client was told.
func (c *Census) Count(ctx context.Context) (Counts, error) {
	counts := make(Counts)
	err := c.do(ctx, "count", []any{c.slot, c.publication}, func(rows pgx.Rows) error {
		var table string
		var n TableCounts
		err := rows.Scan(&table, &n.Inserted, &n.Updated, &n.Deleted, &n.Truncated)
		counts.add(table, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// Close drops the slot. It is no error if that is gone already.
func (c *Census) Close(ctx context.Context) error {
	return c.do(ctx, "close", []any{c.slot}, nil)
}

func (c *Census) do(ctx context.Context, name string, args []any, fn func(rows pgx.Rows) error) error {
	sql, err := loadStatements("census")
	if err != nil {
		return err
	}
	st, err := sql.get(name)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, c.dsn)
	if err != nil {
		return fmt.Errorf("connect for the census: %w", err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, st.text, args...)
	if err != nil {
		return fmt.Errorf("%s census: %w", name, err)
	}
	defer rows.Close()
	for rows.Next() && fn != nil {
		if err := fn(rows); err != nil {
			return fmt.Errorf("%s census: %w", name, err)
		}
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s census: %w", name, err)
	}
	return nil
}
