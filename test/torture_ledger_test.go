package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/demo"
	"github.com/pgwitness/pgwitness/test/harness"
)

// ledgerSchema is what the load says of itself. The table is not audited. Every
// transaction of the load writes into it what it changes, so that both are
// committed or neither is: a commit whose answer was lost is looked up here.
const ledgerSchema = `CREATE SCHEMA truth;
CREATE TABLE truth.ledger (
	token bigint NOT NULL,        -- of the transaction, chosen by the client
	kind  text   NOT NULL,        -- of work, also the actor of its changes
	xid   bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint & 4294967295),
	tbl   text   NOT NULL,
	ins bigint NOT NULL, upd bigint NOT NULL, del bigint NOT NULL, trunc bigint NOT NULL,
	PRIMARY KEY (token, tbl))`

// outcome is what a client knows of a transaction.
type outcome int

const (
	committed  outcome = iota
	rolledBack         // COMMIT was not sent, or refused
	unknown            // the answer to COMMIT was lost, or was no promise
)

// ledger is what the clients of the load were told.
type ledger struct {
	mu    sync.Mutex
	last  int64
	told  map[int64]outcome // by token
	why   map[int64]string  // of those that did not commit: their kind, and what the client was told
	kinds map[string]*[3]int
}

func newLedger() *ledger {
	return &ledger{told: make(map[int64]outcome), why: make(map[int64]string), kinds: make(map[string]*[3]int)}
}

func (l *ledger) token() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	return l.last
}

func (l *ledger) note(d *deed, o outcome, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[d.token] = o
	if o == rolledBack {
		l.why[d.token] = fmt.Sprintf("%s: %v", d.kind, err)
	}
	if l.kinds[d.kind] == nil {
		l.kinds[d.kind] = new([3]int)
	}
	l.kinds[d.kind][o]++
}

// count is what a transaction changes in a table.
type count struct{ ins, upd, del, trunc int64 }

func (c count) plus(d count) count {
	return count{c.ins + d.ins, c.upd + d.upd, c.del + d.del, c.trunc + d.trunc}
}

// deed is one transaction of the load, on its way.
type deed struct {
	pgx.Tx
	ctx    context.Context
	random *rand.Rand
	kind   string
	token  int64
	counts map[string]count
}

// run sends a statement on a table and counts what it changed.
func (d *deed) run(table, sql string, args ...any) error {
	tag, err := d.Exec(d.ctx, sql, args...)
	if err != nil {
		return err
	}
	d.add(table, tag)
	return nil
}

func (d *deed) add(table string, tag pgconn.CommandTag) {
	n, c := tag.RowsAffected(), count{}
	switch {
	case tag.Insert() || strings.HasPrefix(tag.String(), "COPY"):
		c.ins = n
	case tag.Update():
		c.upd = n
	case tag.Delete():
		c.del = n
	case strings.HasPrefix(tag.String(), "TRUNCATE"):
		c.trunc = 1
	}
	d.counts[table] = d.counts[table].plus(c)
}

// write writes the counts into the ledger of the database.
func (d *deed) write() error {
	for table, c := range d.counts {
		if c == (count{}) {
			continue
		}
		const row = "INSERT INTO truth.ledger (token, kind, tbl, ins, upd, del, trunc) VALUES ($1, $2, $3, $4, $5, $6, $7)"
		if _, err := d.Exec(d.ctx, row, d.token, d.kind, table, c.ins, c.upd, c.del, c.trunc); err != nil {
			return err
		}
	}
	return nil
}

// errAbort is returned by work that wants to be rolled back.
var errAbort = errors.New("rolled back on purpose")

// transact runs work as one transaction and notes what the client was told.
func (l *ledger) transact(ctx context.Context, conn *pgx.Conn, random *rand.Rand, kind string, work func(d *deed) error) error {
	d := &deed{ctx: ctx, random: random, kind: kind, token: l.token(), counts: make(map[string]count)}
	o, err := l.attempt(conn, d, work)
	l.note(d, o, err)
	if err == nil || errors.Is(err, errAbort) {
		return nil
	}
	return fmt.Errorf("%s: %w", kind, err)
}

func (l *ledger) attempt(conn *pgx.Conn, d *deed, work func(d *deed) error) (outcome, error) {
	tx, err := conn.Begin(d.ctx)
	if err != nil {
		return rolledBack, err
	}
	d.Tx = tx
	if _, err = tx.Exec(d.ctx, "SELECT set_config('audit.actor_id', $1, true)", d.kind); err == nil {
		if err = work(d); err == nil {
			err = d.write()
		}
	}
	if err != nil {
		return rolledBack, errors.Join(err, ignoreClosed(tx.Rollback(d.ctx)))
	}
	if d.kind == "prepared" {
		return d.commitPrepared(conn)
	}
	return told(tx.Commit(d.ctx), d.kind)
}

// told is what the answer to a COMMIT tells.
func told(err error, kind string) (outcome, error) {
	switch {
	case err == nil && kind == "asynchronous":
		return unknown, nil // the server may still lose it in a crash
	case err == nil:
		return committed, nil
	case demo.RefusedCommit(err):
		return rolledBack, err
	}
	return unknown, err
}

// commitPrepared ends a transaction in two phases.
func (d *deed) commitPrepared(conn *pgx.Conn) (outcome, error) {
	gid := fmt.Sprintf("'torture-%d'", d.token)
	if _, err := d.Exec(d.ctx, "PREPARE TRANSACTION "+gid); err != nil {
		return unknown, err
	}
	if d.random.IntN(3) == 0 {
		if _, err := conn.Exec(d.ctx, "ROLLBACK PREPARED "+gid); err != nil {
			return unknown, err // settle may commit it
		}
		return rolledBack, nil
	}
	if _, err := conn.Exec(d.ctx, "COMMIT PREPARED "+gid); err != nil {
		return unknown, err
	}
	return committed, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, pgx.ErrTxClosed) {
		return nil
	}
	return err
}

// settle ends the prepared transactions that their clients lost so long ago.
func settle(t testing.TB, pg *harness.PG, age string) (n int) {
	t.Helper()
	const query = "SELECT string_agg(gid, ' ') FROM pg_prepared_xacts WHERE database = current_database() AND prepared <= clock_timestamp() - $1::interval"
	gids := strings.Fields(pg.Value(query, age))
	for i, gid := range gids {
		pg.Exec([]string{"COMMIT", "ROLLBACK"}[i%2] + " PREPARED '" + gid + "'")
	}
	return len(gids)
}

// keep looks whether the database kept what it promised; without that nothing
// below means anything. It returns how many of the transactions that no client
// knew the outcome of were committed.
func (l *ledger) keep(t testing.TB, pg *harness.PG) (found int) {
	t.Helper()
	conn := pg.Connect()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	rows, err := conn.Query(ctx, "SELECT DISTINCT token FROM truth.ledger")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make(map[int64]bool, len(tokens))
	for _, token := range tokens {
		kept[token] = true
		switch l.told[token] {
		case rolledBack:
			t.Errorf("transaction %d is committed although its client was told that it is not (%s)", token, l.why[token])
		case unknown:
			found++
		}
	}
	for token, o := range l.told {
		if o == committed && !kept[token] {
			t.Errorf("transaction %d is gone although its client was told that it is committed", token)
		}
	}
	return found
}
