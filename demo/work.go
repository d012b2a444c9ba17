package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// attempts is how often a transaction is tried that deadlocks.
const attempts = 4

// program is one client of the database: its role, its application_name, the
// statements it sends, and its connections, which its users share.
type program struct {
	name  string // and application_name
	role  string
	sql   statements
	pool  *pgxpool.Pool
	tally ledger
	rng   func() uint64 // for span ids; safe for all goroutines
}

// querier is a transaction, or a connection on which every statement is one.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// work is a transaction under way: where statements go, what is said about
// them, and what they have changed so far. It is not for concurrent use.
type work struct {
	on      querier
	program *program
	comment comment
	changes Counts
}

// transact runs fn in a transaction and commits it. A transaction that
// conflicts with another one is tried again. When fn returns an error, the
// transaction is rolled back, and the error returned.
func (p *program) transact(ctx context.Context, c comment, fn func(w *work) error) error {
	var err error
	for range attempts {
		if err = p.attempt(ctx, c, fn); !conflict(err) {
			return err
		}
		p.tally.note(func(t *Tally) { t.Retried++ })
	}
	return err
}

func (p *program) attempt(ctx context.Context, c comment, fn func(w *work) error) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return p.failed(conn, fmt.Errorf("begin: %w", err))
	}
	w := &work{tx, p, c, make(Counts)}
	if err := fn(w); err != nil {
		// COMMIT was not sent, so that nothing of this can have happened, even
		// where the connection is gone and ROLLBACK fails.
		p.tally.note(func(t *Tally) { t.RolledBack++ })
		return p.failed(conn, errors.Join(err, undone(tx.Rollback(ctx))))
	}
	if err := tx.Commit(ctx); err != nil {
		return p.uncommitted(conn, fmt.Errorf("commit: %w", err))
	}
	p.tally.committed(p.name, w.changes)
	return nil
}

// single runs fn, which sends exactly one statement, without BEGIN and COMMIT.
func (p *program) single(ctx context.Context, c comment, fn func(w *work) error) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	w := &work{conn, p, c, make(Counts)}
	if err := fn(w); err != nil {
		return p.uncommitted(conn, err)
	}
	p.tally.committed(p.name, w.changes)
	return nil
}

func (p *program) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	conn, err := p.pool.Acquire(ctx)
	if err == nil {
		return conn, nil
	}
	err = fmt.Errorf("connect %s as %s: %w", p.name, p.role, err)
	if noRoom(err) {
		err = fmt.Errorf("%w: %w", errLost, err)
	}
	return nil, err
}

// failed marks err when it has cost the connection.
func (p *program) failed(conn *pgxpool.Conn, err error) error {
	if conn.Conn().IsClosed() {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// uncommitted tells a transaction that the server refused to commit from one
// whose outcome it could not tell any more: COMMIT may have been carried out
// before the connection broke.
func (p *program) uncommitted(conn *pgxpool.Conn, err error) error {
	p.tally.note(func(t *Tally) {
		if RefusedCommit(err) {
			t.RolledBack++
		} else {
			t.Unknown++
		}
	})
	return p.failed(conn, err)
}

// undone passes on the error of a ROLLBACK, unless it says that the
// transaction was over already.
func undone(err error) error {
	if errors.Is(err, pgx.ErrTxClosed) {
		return nil
	}
	return err
}

// savepoint runs fn in a part of the transaction that is rolled back, without
// harm to the rest, when fn returns an error that the shop can live with.
func (w *work) savepoint(ctx context.Context, fn func(w *work) error) error {
	tx, ok := w.on.(pgx.Tx)
	if !ok {
		return errors.New("savepoint outside of a transaction")
	}
	part, err := tx.Begin(ctx)
	if err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	inner := &work{part, w.program, w.comment, make(Counts)}
	if err := fn(inner); err != nil {
		if undo := part.Rollback(ctx); undo != nil || !(errors.Is(err, errDeclined) || refused(err)) {
			return errors.Join(err, undo)
		}
		return nil
	}
	if err := part.Commit(ctx); err != nil {
		return fmt.Errorf("release savepoint: %w", err)
	}
	w.changes.merge(inner.changes)
	return nil
}

// exec sends a statement and returns how many rows it changed.
func (w *work) exec(ctx context.Context, name string, args ...any) (int64, error) {
	st, err := w.program.sql.get(name)
	if err != nil {
		return 0, err
	}
	tag, err := w.on.Exec(ctx, w.text(st), args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	w.changes.record(st, tag)
	return tag.RowsAffected(), nil
}

// must is exec for a statement whose transaction makes no sense without it:
// that it changed nothing is errDeclined.
func (w *work) must(ctx context.Context, name string, args ...any) error {
	n, err := w.exec(ctx, name, args...)
	if err == nil && n == 0 {
		err = errDeclined
	}
	return err
}

// row sends a statement and reads its first row into dest; errDeclined when
// there is none.
func (w *work) row(ctx context.Context, name string, args []any, dest ...any) error {
	found := false
	err := w.each(ctx, name, args, func(rows pgx.Rows) error {
		if found {
			return nil
		}
		found = true
		return rows.Scan(dest...)
	})
	if err == nil && !found {
		err = errDeclined
	}
	return err
}

// each sends a statement and calls fn for each row of its answer.
func (w *work) each(ctx context.Context, name string, args []any, fn func(rows pgx.Rows) error) error {
	st, err := w.program.sql.get(name)
	if err != nil {
		return err
	}
	tag, err := w.query(ctx, st, args, fn)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.changes.record(st, tag)
	return nil
}

func (w *work) query(ctx context.Context, st statement, args []any, fn func(rows pgx.Rows) error) (pgconn.CommandTag, error) {
	rows, err := w.on.Query(ctx, w.text(st), args...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return pgconn.CommandTag{}, err
		}
	}
	return rows.CommandTag(), rows.Err()
}

// upsert sends an INSERT … ON CONFLICT DO UPDATE … RETURNING xmax = 0. Its
// command tag would call every row an insert; a row that is new has xmax 0.
func (w *work) upsert(ctx context.Context, name string, args ...any) error {
	st, err := w.program.sql.get(name)
	if err != nil {
		return err
	}
	var n TableCounts
	_, err = w.query(ctx, st, args, func(rows pgx.Rows) error {
		var fresh bool
		if err := rows.Scan(&fresh); err != nil {
			return err
		}
		if fresh {
			n.Inserted++
		} else {
			n.Updated++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.changes.add(st.table, n)
	return nil
}

// copy sends rows by COPY.
func (w *work) copy(ctx context.Context, table string, columns []string, rows [][]any) error {
	n, err := w.on.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
	if err != nil {
		return fmt.Errorf("copy into %s: %w", table, err)
	}
	w.changes.add(table, TableCounts{Inserted: n})
	return nil
}

func (w *work) text(st statement) string {
	return w.comment.around(st.text, w.program.rng())
}
