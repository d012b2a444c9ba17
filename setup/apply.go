package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// Progress is told about each step: before its first attempt, and before each
// further one, when another session held a lock.
type Progress struct {
	Step    int // from 1
	Steps   int
	Why     string
	Attempt int // from 1
}

// Apply runs the steps of plan that are still needed. Two at once take turns,
// and the second finds nothing left to do. Whatever ended it, the next Prepare
// and Apply go on with what is missing. progress may be nil.
func Apply(ctx context.Context, cfg Config, plan *Plan, progress func(Progress)) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	a, err := begin(ctx, cfg, progress)
	if err != nil {
		return err
	}
	defer a.conn.Close(ctx) // gives up the lock
	v, err := look(ctx, a.conn, cfg)
	if err != nil {
		return err
	}
	if err := v.tryGuards(ctx, a.conn); err != nil {
		return err
	}
	needed, err := v.plan()
	if err != nil {
		return err
	}
	return a.run(ctx, plan, needed)
}

// applier runs steps over the one connection that holds the lock of setup.
type applier struct {
	cfg      Config
	conn     *pgx.Conn
	progress func(Progress)
}

// setupLock is the key of the advisory lock that setups and teardowns of one
// database take in turn: the bytes "pgwitnes".
const setupLock = 0x7067_7769_746e_6573

// begin connects and takes the lock.
func begin(ctx context.Context, cfg Config, progress func(Progress)) (*applier, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	conn, err := connect(ctx, cfg.DSN)
	if err != nil {
		return nil, err
	}
	a := &applier{cfg.withDefaults(), conn, progress}
	if err := a.lock(ctx); err != nil {
		conn.Close(ctx)
		return nil, fmt.Errorf("begin setup: %w", err)
	}
	return a, nil
}

func (a *applier) lock(ctx context.Context) error {
	var pid uint32
	if err := a.conn.QueryRow(ctx, "SELECT pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		return err
	}
	if pid != a.conn.PgConn().PID() {
		return audit.WithHint(errors.New("a pooler is between us and the server"),
			"let the DSN (or admin_dsn) lead to the server itself: settings and locks of a session do not survive a pooler")
	}
	if _, err := a.conn.Exec(ctx, settings("SET")+"SET lock_timeout = '1min'", pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	_, err := a.conn.Exec(ctx, fmt.Sprintf("SELECT pg_catalog.pg_advisory_lock(%d)", int64(setupLock)))
	if isLockTimeout(err) {
		return audit.WithHint(fmt.Errorf("another setup or teardown is at work: %w", err), "wait for it to end, then run this again")
	}
	return err
}

// run runs the steps of needed that are also in approved: what somebody else
// has done meanwhile is left out, what nobody has seen yet is not done.
func (a *applier) run(ctx context.Context, approved, needed *Plan) error {
	for i, s := range approved.Steps {
		s, ok := needed.step(s)
		if !ok {
			continue
		}
		say := Progress{Step: i + 1, Steps: len(approved.Steps), Why: s.Why}
		if err := a.step(ctx, s, say); err != nil {
			return fmt.Errorf("step %d of %d (%s): %w", say.Step, say.Steps, strings.TrimSuffix(s.Why, "."), err)
		}
	}
	return nil
}

// step tries s until it gets its locks. In between nobody waits behind us.
func (a *applier) step(ctx context.Context, s Step, say Progress) error {
	for {
		say.Attempt++
		a.progress(say)
		err := a.attempt(ctx, s)
		if s.Optional && isRefusal(err) {
			say.Why = strings.TrimSuffix(s.Why, ".") + ": REFUSED by the server, setup goes on without; see docs/ddl.md"
			a.progress(say)
			return nil
		}
		if !isLockTimeout(err) {
			return explainRefusal(err)
		}
		if say.Attempt == a.cfg.LockAttempts {
			return audit.WithHint(fmt.Errorf("no lock in %d attempts of %s: %w", say.Attempt, a.cfg.LockTimeout, err), a.blockers(ctx, s.Table))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.cfg.LockTimeout / 2):
		}
	}
}

func (a *applier) attempt(ctx context.Context, s Step) error {
	if s.Alone {
		if _, err := a.conn.Exec(ctx, "SET lock_timeout = 0"); err != nil {
			return err
		}
		for _, statement := range s.Statements {
			if _, err := a.conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		return nil
	}
	return pgx.BeginFunc(ctx, a.conn, func(tx pgx.Tx) error {
		timeout := fmt.Sprintf("SET LOCAL lock_timeout = '%dms'", a.cfg.LockTimeout.Milliseconds())
		if _, err := tx.Exec(ctx, timeout); err != nil {
			return err
		}
		for _, statement := range s.all() {
			if _, err := tx.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		return nil
	})
}

// blockers is a hint that names the sessions in the way.
func (a *applier) blockers(ctx context.Context, table string) string {
	hint := "run this again when no long transaction uses the table"
	query, err := statements("check/blockers.sql")
	if err != nil {
		return hint
	}
	rows, err := a.conn.Query(ctx, query, table)
	if err != nil {
		return hint
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var pid int32
		var seconds int64
		var role, application, state string
		err := row.Scan(&pid, &role, &application, &state, &seconds)
		return fmt.Sprintf("pid %d (role %s, %q, %s, transaction open for %d s)", pid, role, application, state, seconds), err
	})
	if err != nil || len(found) == 0 {
		return hint
	}
	return hint + "; in the way: " + strings.Join(found, ", ")
}

// isRefusal reports whether the server does not let this role do something.
func isRefusal(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == "42501" || said.Code == "0A000")
}

func isLockTimeout(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == "55P03" || said.Code == "40P01")
}

// explainRefusal gives the commonest refusals a hint.
func explainRefusal(err error) error {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return err
	}
	switch said.Code {
	case "42501":
		return audit.WithHint(err, "set admin_dsn to the owner of the tables or a superuser; or run `pgwitness setup --print-sql` and give the script to the administrator")
	case "53400", "53300":
		return audit.WithHint(err, "raise max_replication_slots and max_wal_senders, and restart the server")
	case "55006":
		return audit.WithHint(err, "stop the sidecar first: its connection holds the slot")
	case "2BP01":
		return audit.WithHint(err, "somebody put an object of his own into the schema pgwitness, or uses one of ours: move it away first")
	}
	return err
}
