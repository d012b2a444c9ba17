package cdc

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"

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
// the two differ: the keys of all published tables are read at the first
// question, so that the key of a table is still known when the reader comes to
// the changes from before it was dropped.
type Catalog struct {
	line        sideline
	publication string
	known       map[uint32][]string // nil until the first question
}

// NewCatalog makes a Catalog that is not connected yet.
func NewCatalog(cfg Config) *Catalog {
	return &Catalog{line: sideline{dsn: cfg.DSN, timeout: cfg.CatalogTimeout}, publication: cfg.Publication}
}

// Key implements KeySource by the primary key. It is asked once for every
// Relation message, which the server sends for a table at the beginning and
// whenever the table may have changed.
func (c *Catalog) Key(ctx context.Context, relid uint32, schema, table string) ([]string, error) {
	var key []string
	err := c.line.do(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		if c.known == nil {
			if err := c.load(ctx, conn); err != nil {
				return err
			}
		}
		rows, err := ask(ctx, conn, keySQL, strconv.FormatUint(uint64(relid), 10))
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			c.known[relid] = keyOf(rows)
		}
		key = c.known[relid]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read primary key of %s.%s: %w", schema, table, err)
	}
	return key, nil
}

// keyOf is the key in the rows of key.sql, nil when there is none.
func keyOf(rows []row) (key []string) {
	for _, r := range rows {
		if name := r.text("column_name"); name != "" {
			key = append(key, name)
		}
	}
	return key
}

// load reads the primary keys of all published tables.
func (c *Catalog) load(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := ask(ctx, conn, keysSQL, c.publication)
	if err != nil {
		return err
	}
	known := map[uint32][]string{}
	for _, r := range rows {
		id := uint32(r.number("relation_id", 0))
		if r.err != nil {
			return r.err
		}
		known[id] = append(known[id], r.text("column_name"))
	}
	c.known = known
	return nil
}

// Close closes the connection.
func (c *Catalog) Close(ctx context.Context) error { return c.line.close(ctx) }
