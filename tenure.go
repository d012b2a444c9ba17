package pgwitness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sql"
)

const (
	// askTimeout limits one statement on the connection of a tenure.
	askTimeout = 10 * time.Second
	// standbyPause is how often a standby looks whether it may take over.
	standbyPause = time.Second
	// streamResource is the resource_type of the entries about a stream itself.
	streamResource = "pgwitness.stream"
	// ownActor is who acts where no person does.
	ownActor = "system:pgwitness"
)

// tenure is the right to write the chain of a stream: a session of the audited
// database that holds an advisory lock. Of several sidecars one has it, and the
// others wait as standbys. The replication slot is a lock as well, but it can
// be had only behind the checks, and those fence the inserts of whoever writes.
//
// The same session writes what pgwitness itself does into the log. It belongs
// to one goroutine at a time.
type tenure struct {
	conn   *pgx.Conn
	stream string
	slot   string
	held   bool
	log    zerolog.Logger
}

// openTenure connects, as a standby until the tenure is taken.
func openTenure(ctx context.Context, s StreamConfig, log zerolog.Logger) (*tenure, error) {
	return connectTenure(ctx, s, "pgwitness standby "+s.Name, log)
}

// connectTenure connects under a name. The settings are those of a session that
// waits for a long time: it notices within half a minute when the other side is
// gone.
func connectTenure(ctx context.Context, s StreamConfig, name string, log zerolog.Logger) (*tenure, error) {
	cfg, err := pgx.ParseConfig(s.Postgres.DSN)
	if err != nil {
		return nil, audit.WithHint(errors.New("connect to audited database: the DSN cannot be read"), "run: pgwitness config check")
	}
	for name, value := range map[string]string{
		"application_name": name, "client_encoding": "UTF8", "search_path": "",
		"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
		"idle_session_timeout": "0", "statement_timeout": "10s",
		"lock_timeout":       "2s",    // what somebody else has locked is looked at later
		"synchronous_commit": "local", // an event must not wait for a standby that is away
	} {
		cfg.RuntimeParams[name] = value
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	ctx, cancel := context.WithTimeout(ctx, s.Postgres.ConnectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to audited database: %w", err)
	}
	return &tenure{conn: conn, stream: s.Name, slot: s.Postgres.Slot, log: log}, nil
}

// close gives the tenure up.
func (t *tenure) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// The server gives the lock up also when it only sees the connection end.
	_ = t.conn.Close(ctx)
}

// ask runs a statement of sql/postgres/stream that returns one row.
func (t *tenure) ask(ctx context.Context, file string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	text, err := statement(file)
	if err != nil {
		return err
	}
	if err := t.conn.QueryRow(ctx, text, args...).Scan(into...); err != nil {
		return fmt.Errorf("ask audited database (%s): %w", file, err)
	}
	return nil
}

// statement reads a file of sql/postgres/stream.
func statement(file string) (string, error) {
	text, err := sql.Postgres.ReadFile("postgres/stream/" + file)
	if err != nil {
		return "", fmt.Errorf("read statement %s: %w", file, err)
	}
	return string(text), nil
}

// take tries to get the tenure. It is ours when holder is 0; else that process
// of the database has it, or still reads the slot. A negative holder had it
// only just now.
func (t *tenure) take(ctx context.Context) (holder int, err error) {
	if !t.held {
		if err := t.ask(ctx, "tenure.sql", []any{t.slot}, &t.held, &holder); err != nil {
			return 0, err
		}
		if !t.held {
			if holder == 0 {
				holder = -1
			}
			return holder, nil
		}
	}
	if err := t.ask(ctx, "slot_holder.sql", []any{t.slot}, &holder); err != nil || holder != 0 {
		return holder, err
	}
	return 0, t.rename(ctx)
}

// rename shows in pg_stat_activity that this session no longer waits.
func (t *tenure) rename(ctx context.Context) error {
	if _, err := t.conn.Exec(ctx, "SELECT pg_catalog.set_config('application_name', $1, false)", "pgwitness "+t.stream); err != nil {
		return fmt.Errorf("name session: %w", err)
	}
	return nil
}

// act is something that pgwitness itself does, for the trail.
type act struct {
	action       string
	resourceType string
	resourceID   string
	actor        string // "": pgwitness
	details      any    // becomes JSON
	reason       string
}

// write puts a into the log of the audited database, from where it comes back
// as an entry, and returns its position: the commit lies behind it.
func (t *tenure) write(ctx context.Context, a act) (audit.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	details, err := json.Marshal(a.details)
	if err != nil {
		return 0, fmt.Errorf("write event %s: %w", a.action, err)
	}
	actor, actorType := a.actor, "human"
	switch {
	case actor == "":
		actor, actorType = ownActor, "system"
	case strings.Contains(actor, ":"):
		actorType = "" // cron:nightly-verify: the form of the name tells
	}
	var reason any
	if a.reason != "" {
		reason = a.reason
	}
	var lsn string
	err = pgx.BeginFunc(ctx, t.conn, func(tx pgx.Tx) error {
		if err := execFile(ctx, tx, "claim.sql", actor, actorType); err != nil {
			return err
		}
		if err := execFile(ctx, tx, "event.sql", a.action, a.resourceType, a.resourceID, string(details), reason); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_insert_lsn()::text").Scan(&lsn)
	})
	if err != nil {
		return 0, fmt.Errorf("write event %s: %w", a.action, err)
	}
	return audit.ParseLSN(lsn)
}

func execFile(ctx context.Context, tx pgx.Tx, file string, args ...any) error {
	text, err := statement(file)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, text, args...)
	return err
}

// busy reports whether a statement failed because of what others do to tables
// at that moment: a lock, a table dropped while it was looked at. The session
// goes on, and the question can be asked again later.
func busy(err error) bool {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return false
	}
	switch said.Code {
	case "55P03", "XX000", "42P01": // lock_not_available, internal_error (no relation of that OID), undefined_table
		return true
	}
	return false
}

// report is write for events that capture can do without: where the database
// refuses one, because a right or the function is missing, that is a warning.
// An error means that the connection is gone, and the tenure with it.
func (t *tenure) report(ctx context.Context, a act) (audit.LSN, error) {
	lsn, err := t.write(ctx, a)
	var said *pgconn.PgError
	if err != nil && errors.As(err, &said) && !t.conn.IsClosed() {
		t.log.Warn().Err(err).Str("hint", "pgwitness check").Str("action", a.action).Msg("event not written")
		return 0, nil
	}
	return lsn, err
}
