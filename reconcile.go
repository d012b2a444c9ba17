package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/trail"
	"github.com/pgwitness/pgwitness/verify"
)

const (
	// sidecarPatience is how long a slot may have no reader, as while a standby
	// takes over, and how long the trail may stand still, before verify says
	// that no sidecar is at work.
	sidecarPatience = 5 * time.Second
	trailPatience   = 2 * time.Minute
)

// publishedRows is a table as the publication has it.
type publishedRows struct {
	schema, name string
	about        uint64 // rows
	filter       string // condition on rows; "": none
}

// reconcile compares the fold of every published table with the table, at one
// moment: it takes a snapshot of the audited database, waits until the trail has
// everything that was committed before, and folds what the snapshot sees.
func (c *crossCheck) reconcile(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.stream.Postgres.verifyDSN())
	if err != nil {
		return fmt.Errorf("connect to audited database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		return fmt.Errorf("read the end of the log: %w", err)
	}
	before, err := audit.ParseLSN(text)
	if err != nil {
		return err
	}
	return trail.Snapshot(ctx, conn, func(tx pgx.Tx) error {
		s, err := look(ctx, tx, before)
		if err != nil {
			return err
		}
		// Rows that a policy hides would look as if they had been deleted: the
		// server refuses instead.
		if _, err := tx.Exec(ctx, "SET LOCAL row_security = off"); err != nil {
			return fmt.Errorf("turn row security off: %w", err)
		}
		last, err := c.catchUp(ctx)
		if err != nil {
			return err
		}
		return c.reconcileAll(ctx, tx, trail.Review{Stream: c.stream.Name, Last: &last, Sees: s.sees})
	})
}

// verifyDSN is the DSN of the role that reads tables.
func (p PostgresConfig) verifyDSN() string {
	switch {
	case p.VerifyDSN != "":
		return p.VerifyDSN
	case p.AdminDSN != "":
		return p.AdminDSN
	}
	return p.DSN
}

// catchUp writes an event into the log and returns its sequence once the trail
// has it: by then it has everything that was committed before.
func (c *crossCheck) catchUp(ctx context.Context) (uint64, error) {
	conn, err := pgx.Connect(ctx, c.stream.Postgres.DSN)
	if err != nil {
		return 0, fmt.Errorf("connect to audited database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	token, err := writeSync(ctx, conn)
	if err != nil {
		return 0, err
	}
	sign := &signOfLife{check: c, conn: conn, read: time.Now(), moved: time.Now()}
	return awaitSync(ctx, c.trail, c.stream.Name, token, sign.look)
}

// signOfLife watches whether the trail can be expected to catch up.
type signOfLife struct {
	check *crossCheck
	conn  *pgx.Conn
	size  uint64    // of the trail when it was seen to grow last
	read  time.Time // when the slot was seen to have a reader last
	moved time.Time // when the trail was seen to grow last
}

// look returns an error when waiting is in vain.
func (s *signOfLife) look(ctx context.Context) error {
	text, err := statement("slot_active.sql")
	if err != nil {
		return err
	}
	slot := s.check.stream.Postgres.Slot
	var active bool
	if err := s.conn.QueryRow(ctx, text, slot).Scan(&active); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("look at slot %s: %w", slot, err)
	}
	now := time.Now()
	if active {
		s.read = now
	}
	size, err := s.check.trail.Size(ctx, s.check.stream.Name)
	if err != nil {
		return err
	}
	if size > s.size {
		s.size, s.moved = size, now
	}
	if s.check.show != nil {
		s.check.show("waiting for the trail to catch up", 0, 0)
	}
	if now.Sub(s.read) > sidecarPatience || now.Sub(s.moved) > trailPatience {
		return audit.WithHint(fmt.Errorf("the trail does not catch up with the audited database: slot %s has a reader: %t", slot, active),
			"start the sidecar: pgwitness run; what keeps it back: pgwitness status")
	}
	return nil
}

// reconcileAll compares one table after the other.
func (c *crossCheck) reconcileAll(ctx context.Context, tx pgx.Tx, r trail.Review) error {
	published, err := readPublished(ctx, tx, c.stream.Postgres.Publication)
	if err != nil {
		return err
	}
	tables, err := c.trail.Tables(ctx, r)
	if err != nil {
		return err
	}
	known := make(map[string]trail.Table, len(tables))
	for _, t := range tables {
		known[t.String()] = t
	}
	r.Progress = c.progress("reconciling", tables)
	var sum reconcileCount
	var errs []error
	for _, p := range published {
		table := known[p.schema+"."+p.name]
		table.Schema, table.Name = p.schema, p.name
		// An error of the server about one table must not cost the snapshot.
		var outcome trail.Reconciliation
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) (err error) {
			outcome, err = c.reconcileTable(ctx, tx, r, &table, p)
			return err
		})
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("table %s: %w", table, explainRead(err)))
			if tx.Conn().IsClosed() {
				break
			}
			continue
		}
		sum.add(outcome)
		c.judge(table, outcome, *r.Last)
	}
	c.report.Note(verify.Completeness, sum.words())
	return errors.Join(errs...)
}

func readPublished(ctx context.Context, tx pgx.Tx, publication string) ([]publishedRows, error) {
	text, err := statement("published.sql")
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, text, publication)
	if err != nil {
		return nil, fmt.Errorf("list tables of publication %s: %w", publication, err)
	}
	var p publishedRows
	var list []publishedRows
	_, err = pgx.ForEachRow(rows, []any{&p.schema, &p.name, &p.about, &p.filter}, func() error {
		list = append(list, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list tables of publication %s: %w", publication, err)
	}
	if len(list) == 0 {
		return nil, audit.WithHint(fmt.Errorf("publication %s does not exist, or has no tables", publication), "run: pgwitness check")
	}
	return list, nil
}

// reconcileTable folds and compares one table, from its last baseline on: what was
// before is the business of continuity, and may be of another table. A table without entries has no
// key to learn: its rows are those that the trail does not know.
func (c *crossCheck) reconcileTable(ctx context.Context, tx pgx.Tx, r trail.Review, table *trail.Table, p publishedRows) (trail.Reconciliation, error) {
	primary, err := trail.LiveKey(ctx, tx, p.schema, p.name)
	if err != nil {
		return trail.Reconciliation{}, err
	}
	if r.First, err = c.trail.LastBaseline(ctx, r, *table); err != nil {
		return trail.Reconciliation{}, err
	}
	ok, err := c.learnKey(ctx, r, table, primary...)
	if err != nil {
		return trail.Reconciliation{}, err
	}
	if !ok {
		return trail.Reconciliation{}, audit.WithHint(errors.New("no columns explain its resource_ids"), "name the key of the table in its configuration (tables: key:)")
	}
	return c.trail.Reconcile(ctx, tx, r, *table, p.about, p.filter)
}

// explainRead adds what to do about an error of reading a table.
func explainRead(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" {
		return audit.WithHint(err, "set verify_dsn to a role that may SELECT from the audited tables and has BYPASSRLS where they have row security")
	}
	return err
}

// judge makes findings of the differences of a table. last is the sequence up
// to which it was folded.
func (c *crossCheck) judge(table trail.Table, o trail.Reconciliation, last uint64) {
	all := uint64(o.Extra + o.Different)
	if o.Complete {
		all += uint64(o.Missing)
	}
	var listed uint64
	for _, d := range o.First {
		if d.Kind == trail.MissingRow && !o.Complete {
			continue
		}
		if listed++; listed > listedFindings {
			break
		}
		c.report.Add(verify.Completeness, c.difference(table, d, last))
	}
	c.report.AddCount(verify.Completeness, all-min(all, listed))
}

// difference is the finding of a row.
func (c *crossCheck) difference(table trail.Table, d trail.Difference, last uint64) verify.Finding {
	f := verify.Finding{Sequence: d.Sequence, Table: table.String(), Key: d.Key}
	var live, told []trail.Value
	for _, column := range d.Columns {
		f.Columns = append(f.Columns, column.Name)
		told, live = append(told, column.Trail), append(live, column.Live)
	}
	switch d.Kind {
	case trail.MissingRow:
		f.Kind, f.Sequence, f.Columns = verify.RowMissing, last, nil
		f.What = "the table has a row that no entry inserted"
	case trail.ExtraRow:
		f.Kind, f.Columns = verify.RowExtra, nil
		f.What = "the table does not have this row, and no entry deleted it"
	default:
		f.Kind, f.What = verify.RowDifferent, "the table has other values than this last entry left"
	}
	if c.values {
		var columns []string
		for _, column := range d.Columns {
			columns = append(columns, column.Name)
		}
		f.Want, f.Got = valuesOf(columns, told), valuesOf(columns, live)
	}
	return f
}

// reconcileCount is what the verdict says besides its findings.
type reconcileCount struct {
	tables                                int
	rows, same, older, unknown, explained int
}

func (s *reconcileCount) add(o trail.Reconciliation) {
	s.tables++
	s.rows += o.Rows
	s.same += o.Same
	s.unknown += o.Unknown
	s.explained += o.Explained
	if !o.Complete {
		s.older += o.Missing
	}
}

func (s *reconcileCount) words() string {
	return counted(fmt.Sprintf("reconciled %d tables: of %d rows %d are the same", s.tables, s.rows, s.same),
		clause{uint64(s.older), "unknown before the stream began"},
		clause{uint64(s.unknown), "with columns that no entry tells"},
		clause{uint64(s.explained), "that a declared gap explains"})
}
