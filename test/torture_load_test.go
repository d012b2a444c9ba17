package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// tortureTables are those of the load, beside the shop's.
const tortureTables = tpcb + `
CREATE TABLE torture_items  (id bigserial PRIMARY KEY, worker int, n int, note text);
CREATE TABLE torture_copied (id bigserial PRIMARY KEY, label text, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE torture_bulk   (id bigserial PRIMARY KEY, n int, filler text);
CREATE TABLE torture_shape  (id bigserial PRIMARY KEY, n int);
CREATE TABLE torture_pulse  (id bigserial PRIMARY KEY)`

func tortureTableNames() []string {
	return append(tpcbTables(), "torture_items", "torture_copied", "torture_bulk", "torture_shape", "torture_pulse")
}

// load is the applications: a few clients, each of which does one thing after
// the other and connects again when the server was away.
type load struct {
	dsn    string
	ledger *ledger
	pause  time.Duration // longest one between two transactions of a client
	brake  atomic.Bool   // the machine is too slow for all of it: longer pauses
}

// chore is one kind of transaction.
type chore struct {
	kind   string
	weight int
	do     func(d *deed) error
}

func chores() []chore {
	return []chore{
		{"tpcb", 80, tpcbDeed},
		{"items", 40, itemsDeed},
		{"savepoints", 24, savepointDeed},
		{"aborted", 20, abortedDeed},
		{"asynchronous", 16, asynchronousDeed},
		{"prepared", 16, itemsDeed},
		{"copy", 16, copyDeed},
		{"big", 1, bigDeed},
		{"truncate", 1, truncateDeed},
		{"ddl", 2, shapeDeed},
	}
}

// seed commits the rows that the load begins with.
func (l *load) seed(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, l.dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return l.ledger.transact(ctx, conn, nil, "seed", func(d *deed) error {
		for _, sql := range strings.Split(strings.TrimSpace(tpcbRows), "\n") {
			if err := d.run(strings.Fields(sql)[2], sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// run lets so many clients work until open ends. What they have begun then,
// they end.
func (l *load) run(open context.Context, clients int, seed uint64) error {
	var g errgroup.Group
	for c := range clients {
		g.Go(func() error { return l.client(open, rand.New(rand.NewPCG(seed, uint64(c+1)))) })
	}
	return g.Wait()
}

func (l *load) client(open context.Context, random *rand.Rand) error {
	ctx := context.WithoutCancel(open)
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(ctx)
		}
	}()
	for open.Err() == nil {
		pause := time.Duration(random.Int64N(int64(l.pause)))
		if l.brake.Load() {
			pause *= 20
		}
		wait(pause)
		if conn == nil || conn.IsClosed() {
			dialed, err := pgx.Connect(ctx, l.dsn)
			if err != nil {
				continue // the server is away: that is what this is about
			}
			conn = dialed
		}
		c := choose(random)
		err := l.ledger.transact(ctx, conn, random, c.kind, c.do)
		if err != nil && !conn.IsClosed() && !harmless(err) {
			return err
		}
	}
	return nil
}

// harmless errors are those that applications live with: another transaction
// was in the way, the server goes down, or what was prepared was settled.
func harmless(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (strings.HasPrefix(said.Code, "57P") || strings.HasPrefix(said.Code, "40") || said.Code == "55P03" || said.Code == "42704")
}

func choose(random *rand.Rand) chore {
	all, sum := chores(), 0
	for _, c := range all {
		sum += c.weight
	}
	at := random.IntN(sum)
	for _, c := range all {
		if at -= c.weight; at < 0 {
			return c
		}
	}
	return all[0]
}

func tpcbDeed(d *deed) error {
	aid, tid, delta := 1+d.random.IntN(10000), 1+d.random.IntN(10), d.random.IntN(10000)-5000
	for _, s := range []struct {
		table, sql string
		args       []any
	}{
		{"pgbench_accounts", "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2", []any{delta, aid}},
		{"pgbench_tellers", "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2", []any{delta, tid}},
		{"pgbench_branches", "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = 1", []any{delta}},
		{"pgbench_history", "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, 1, $2, $3, clock_timestamp())", []any{tid, aid, delta}},
	} {
		if err := d.run(s.table, s.sql, s.args...); err != nil {
			return err
		}
	}
	return nil
}

// itemsDeed writes a handful of rows in every way: several changes of one row,
// a value that the log leaves out when it does not change, no row at all.
func itemsDeed(d *deed) error {
	worker := d.random.IntN(1 << 30)
	for _, sql := range []string{
		"INSERT INTO torture_items (worker, n, note) SELECT $1, i, repeat('n', i) FROM generate_series(1, 5) i",
		"INSERT INTO torture_items (worker, n, note) SELECT $1, 0, string_agg(md5(i::text), '') FROM generate_series(1, 200) i",
		"UPDATE torture_items SET n = n + 1 WHERE worker = $1",
		"UPDATE torture_items SET note = NULL WHERE worker = $1 AND n = 3",
		"UPDATE torture_items SET n = -1 WHERE worker = $1 AND false",
		"DELETE FROM torture_items WHERE worker = $1 AND n > 4",
	} {
		if err := d.run("torture_items", sql, worker); err != nil {
			return err
		}
	}
	return nil
}

// savepointDeed takes back a part of itself, and a part of a part.
func savepointDeed(d *deed) error {
	insert := func(n int) error {
		return d.run("torture_items", "INSERT INTO torture_items (worker, n) SELECT -1, i FROM generate_series(1, $1) i", n)
	}
	undo := func(work func() error) error {
		before := d.counts["torture_items"]
		if _, err := d.Exec(d.ctx, "SAVEPOINT undone"); err != nil {
			return err
		}
		if err := work(); err != nil {
			return err
		}
		d.counts["torture_items"] = before
		_, err := d.Exec(d.ctx, "ROLLBACK TO undone")
		return err
	}
	if err := undo(func() error { return insert(3) }); err != nil {
		return err
	}
	if _, err := d.Exec(d.ctx, "SAVEPOINT kept"); err != nil {
		return err
	}
	if err := errors.Join(insert(2), undo(func() error { return insert(4) })); err != nil {
		return err
	}
	_, err := d.Exec(d.ctx, "RELEASE kept")
	return errors.Join(err, d.run("torture_items", "DELETE FROM torture_items WHERE worker = -1 AND id IN (SELECT id FROM torture_items WHERE worker = -1 LIMIT 1 FOR UPDATE SKIP LOCKED)"))
}

func abortedDeed(d *deed) error {
	if err := itemsDeed(d); err != nil {
		return err
	}
	if err := d.write(); err != nil {
		return err
	}
	return errAbort
}

func asynchronousDeed(d *deed) error {
	if _, err := d.Exec(d.ctx, "SET LOCAL synchronous_commit = off"); err != nil {
		return err
	}
	return tpcbDeed(d)
}

func copyDeed(d *deed) error {
	n := 10 + d.random.IntN(80)
	rows := pgx.CopyFromSlice(n, func(i int) ([]any, error) { return []any{fmt.Sprintf("row %d of %d", i, d.token)}, nil })
	copied, err := d.CopyFrom(d.ctx, pgx.Identifier{"torture_copied"}, []string{"label"}, rows)
	if err != nil {
		return err
	}
	d.counts["torture_copied"] = d.counts["torture_copied"].plus(count{ins: copied})
	return nil
}

// bigDeed changes thousands of rows, wide ones, so that it comes in parts.
func bigDeed(d *deed) error {
	n := 500 + d.random.IntN(2500)
	if err := d.run("torture_bulk", "INSERT INTO torture_bulk (n, filler) SELECT i, repeat('f', 300) FROM generate_series(1, $1) i", n); err != nil {
		return err
	}
	return d.run("torture_bulk", "UPDATE torture_bulk SET n = n + 1 WHERE id IN (SELECT id FROM torture_bulk ORDER BY id DESC LIMIT $1)", n/2)
}

// truncateDeed empties two tables by one statement, one of which gets a row
// before it and one behind it.
func truncateDeed(d *deed) error {
	const insert = "INSERT INTO torture_copied (label) VALUES ('around a truncate')"
	if err := d.run("torture_copied", insert); err != nil {
		return err
	}
	if _, err := d.Exec(d.ctx, "TRUNCATE torture_bulk, torture_copied"); err != nil {
		return err
	}
	for _, table := range []string{"torture_bulk", "torture_copied"} {
		d.counts[table] = d.counts[table].plus(count{trunc: 1})
	}
	return d.run("torture_copied", insert)
}

// shapeDeed changes the shape of a table between its rows.
func shapeDeed(d *deed) error {
	const insert = "INSERT INTO torture_shape (n) VALUES ($1)"
	if err := d.run("torture_shape", insert, d.token); err != nil {
		return err
	}
	column := "c" + fmt.Sprint(d.token)
	if _, err := d.Exec(d.ctx, "ALTER TABLE torture_shape ADD COLUMN "+column+" text"); err != nil {
		return err
	}
	if err := d.run("torture_shape", "UPDATE torture_shape SET "+column+" = 'set' WHERE n % 2 = 0"); err != nil {
		return err
	}
	var oldest string
	const query = `SELECT coalesce(min(attname), '') FROM pg_attribute WHERE attrelid = 'torture_shape'::regclass AND attnum > 0 AND NOT attisdropped
		AND attname ~ '^c' AND attname <> $1`
	if err := d.QueryRow(d.ctx, query, column).Scan(&oldest); err != nil {
		return err
	}
	if oldest != "" {
		if _, err := d.Exec(d.ctx, "ALTER TABLE torture_shape DROP COLUMN "+oldest); err != nil {
			return err
		}
	}
	return d.run("torture_shape", insert, d.token+1)
}
