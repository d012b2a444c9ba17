package trail

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// beginner is a PostgreSQL connection or pool.
type beginner interface {
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
}

// querier is a transaction that Snapshot opened.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Snapshot runs use in a read-only transaction that sees the database as it is
// at one moment, however long use takes, and in which values are rendered
// under the settings that docs/chain-format.md pins. Nothing outlives the
// transaction.
func Snapshot(ctx context.Context, db beginner, use func(tx pgx.Tx) error) error {
	tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("open a snapshot: %w", err)
	}
	defer tx.Rollback(ctx) // it only read: an error now changes nothing
	if _, err := tx.Exec(ctx, pinnedSQL); err != nil {
		return fmt.Errorf("open a snapshot: pin the output settings: %w", err)
	}
	return use(tx)
}

//go:embed pinned.sql
var pinnedSQL string

//go:embed livecolumns.sql
var liveColumnsSQL string

//go:embed livekey.sql
var liveKeySQL string

// LiveKey returns the primary key columns of a table, in the order of the key;
// none when it has no primary key.
func LiveKey(ctx context.Context, tx querier, schema, table string) ([]string, error) {
	rows, err := tx.Query(ctx, liveKeySQL, schema, table)
	if err != nil {
		return nil, fmt.Errorf("read the key of %s.%s: %w", schema, table, err)
	}
	key, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the key of %s.%s: %w", schema, table, err)
	}
	return key, nil
}

// ReadLive returns a table as it stands in the snapshot of tx. Its values have
// the very bytes that logical decoding writes: the text that the output
// function of each type returns. (A cast to text would not do: it renders
// booleans, inet and char(n) differently.) Rows may be ranged over once.
func ReadLive(ctx context.Context, tx querier, schema, table string) (LiveTable, error) {
	return readLive(ctx, tx, schema, table, "")
}

// readLive is ReadLive of the rows for which a condition holds; "" is all.
func readLive(ctx context.Context, tx querier, schema, table, filter string) (LiveTable, error) {
	columns, only, err := liveColumns(ctx, tx, schema, table)
	if err != nil {
		return LiveTable{}, fmt.Errorf("read %s.%s: %w", schema, table, err)
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = pgx.Identifier{c.Name}.Sanitize()
	}
	text := "SELECT " + strings.Join(names, ", ") + " FROM " + only + pgx.Identifier{schema, table}.Sanitize()
	if filter != "" {
		text += " WHERE " + filter
	}
	return LiveTable{columns, liveRows(ctx, tx, text)}, nil
}

// liveColumns lists the columns in order. The rows of tables that inherit from
// a table have entries of their own, so that they must not be read with it;
// those of the partitions of a published root have not.
func liveColumns(ctx context.Context, tx querier, schema, table string) (columns []LiveColumn, only string, err error) {
	rows, err := tx.Query(ctx, liveColumnsSQL, schema, table)
	if err != nil {
		return nil, "", err
	}
	var column LiveColumn
	var partitioned bool
	_, err = pgx.ForEachRow(rows, []any{&column.Name, &column.Generated, &partitioned}, func() error {
		columns = append(columns, column)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(columns) == 0 {
		return nil, "", audit.WithHint(errors.New("there is no such table, or it has no columns"),
			"it may have been renamed or dropped since: the trail keeps the name it had")
	}
	if partitioned {
		return columns, "", nil
	}
	return columns, "ONLY ", nil
}

// liveRows runs a query in the simple protocol, in which every value comes as
// text.
func liveRows(ctx context.Context, tx querier, text string) iter.Seq2[[][]byte, error] {
	return func(yield func([][]byte, error) bool) {
		rows, err := tx.Query(ctx, text, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			if !yield(rows.RawValues(), nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// CompareLive compares the fold with its table in the snapshot of tx.
func (f *Fold) CompareLive(ctx context.Context, tx querier) (Comparison, error) {
	table, err := ReadLive(ctx, tx, f.schema, f.table)
	if err != nil {
		return Comparison{}, err
	}
	return f.Compare(table)
}
