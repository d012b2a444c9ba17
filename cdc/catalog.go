package cdc

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed keys.sql
var keysSQL string

//go:embed key.sql
var keySQL string

// Catalog is the KeySource that asks the audited database for primary keys,
// over a connection of its own that it opens when it is first asked.
//
// The catalog tells of now, and the log of then. What is remembered helps where
// the two differ: the keys of all tables are read at the first
// question, so that the key of a table is still known when the reader comes to
// the changes from before it was dropped.
type Catalog struct {
	line  sideline
	known map[uint32]Facts // nil until the first question
}

// NewCatalog makes a Catalog that is not connected yet.
func NewCatalog(cfg Config) *Catalog {
	return &Catalog{line: sideline{dsn: cfg.DSN, timeout: cfg.CatalogTimeout}}
}

// Facts implements KeySource. It is asked once for every
// Relation message, which the server sends for a table at the beginning and
// whenever the table may have changed.
func (c *Catalog) Facts(ctx context.Context, xid, relid uint32, schema, table string) (Facts, error) {
	var facts Facts
	err := c.line.do(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		if c.known == nil {
			if err := c.load(ctx, conn); err != nil {
				return err
			}
		}
		rows, err := askBehind(ctx, conn, xid, relid)
		if err != nil {
			return err
		}
		if rows[0].text("relation_id") != "" {
			c.known[relid] = factsOf(rows)
		}
		facts = c.known[relid]
		return nil
	})
	if err != nil {
		return Facts{}, fmt.Errorf("read primary key of %s.%s: %w", schema, table, err)
	}
	return facts, nil
}

// behindCommit is how long a question waits for a commit to become visible.
// It is a moment, unless a commit waits for a standby. Not longer: this
// sidecar's own confirmation may be what it waits for (a "*" in
// synchronous_standby_names), and the application must never wait for that.
const behindCommit = 3 * time.Second

// askBehind asks key.sql until the answer is from behind the commit of
// transaction xid, which may have given the table its key, or made it. The log
// is ahead of what others see: a commit is flushed, and sent, first.
func askBehind(ctx context.Context, conn *pgconn.PgConn, xid, relid uint32) ([]row, error) {
	limit := time.Now().Add(behindCommit)
	if end, ok := ctx.Deadline(); ok && time.Until(end)/2 < behindCommit {
		limit = time.Now().Add(time.Until(end) / 2)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		rows, err := ask(ctx, conn, keySQL, strconv.FormatUint(uint64(relid), 10), strconv.FormatUint(uint64(xid), 10))
		if err == nil && len(rows) == 0 {
			err = errors.New("the answer is empty")
		}
		if err != nil || rows[0].flag("visible") || time.Now().After(limit) {
			return rows, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// factsOf reads the rows of key.sql.
func factsOf(rows []row) (f Facts) {
	for _, r := range rows {
		f.RootSchema, f.RootName = r.text("root_schema"), r.text("root_name")
		if name := r.text("column_name"); name != "" {
			f.Key = append(f.Key, name)
		}
	}
	return f
}

// load reads the primary keys of all tables.
func (c *Catalog) load(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := ask(ctx, conn, keysSQL, "")
	if err != nil {
		return err
	}
	known := map[uint32]Facts{}
	for _, r := range rows {
		id := uint32(r.number("relation_id", 0))
		if r.err != nil {
			return r.err
		}
		f := known[id]
		f.Key = append(f.Key, r.text("column_name"))
		f.RootSchema, f.RootName = r.text("root_schema"), r.text("root_name")
		known[id] = f
	}
	c.known = known
	return nil
}

// Close closes the connection.
func (c *Catalog) Close(ctx context.Context) error { return c.line.close(ctx) }
