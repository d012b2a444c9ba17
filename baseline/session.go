package baseline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

const (
	// askTimeout limits one statement, as seen from here; statementTimeout as
	// seen by the server, and lockTimeout what it waits for a lock.
	askTimeout       = 70 * time.Second
	statementTimeout = "60s"
	lockTimeout      = "3s"
)

// session is a connection to the audited database whose values are rendered as
// those of the stream.
type session struct{ conn *pgconn.PgConn }

// connect opens a session and makes sure of its settings.
func connect(ctx context.Context, src Source) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, src.ConnectTimeout)
	defer cancel()
	cfg, err := pgconn.ParseConfig(src.DSN)
	if err != nil {
		return nil, audit.WithHint(errors.New("connect to audited database: the DSN cannot be read"), "run: pgwitness config check")
	}
	maps.DeleteFunc(cfg.RuntimeParams, func(name, _ string) bool {
		for pinned := range src.Settings {
			if strings.EqualFold(name, pinned) {
				return true
			}
		}
		return false
	})
	maps.Copy(cfg.RuntimeParams, src.Settings)
	for name, value := range map[string]string{
		"application_name":  "pgwitness baseline " + src.Stream,
		"statement_timeout": statementTimeout, "lock_timeout": lockTimeout,
		"idle_in_transaction_session_timeout": "60s",
		// A policy must not hide rows: better an error.
		"row_security": "off",
		// A mark must not wait for a standby that is away.
		"synchronous_commit": "local",
	} {
		cfg.RuntimeParams[name] = value
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to audited database: %w", err)
	}
	s := &session{conn}
	if err := s.pinned(ctx, src.Settings); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// pinned refuses a session whose settings are not those of the stream: a row
// would read differently in the baseline and in the log.
func (c *session) pinned(ctx context.Context, settings map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		r, err := c.ask(ctx, "inspect session", "SELECT pg_catalog.current_setting("+literal(name)+") AS value")
		if err != nil {
			return err
		}
		if got := r.value("value"); got != settings[name] {
			return audit.WithHint(fmt.Errorf("inspect session: %s is %q although %q was asked for", name, got, settings[name]),
				"connect to the server itself, not through a pooler or proxy, which drops what it does not know")
		}
	}
	return nil
}

func (c *session) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.conn.Close(ctx)
}

// result is the rows of the last statement that returned columns.
type result struct {
	columns []string
	rows    [][][]byte
}

// value is a column of the first row, "" when there is none or it is NULL.
func (r *result) value(column string) string {
	if len(r.rows) == 0 {
		return ""
	}
	return r.at(0, column)
}

func (r *result) at(row int, column string) string {
	i := slices.Index(r.columns, column)
	if i < 0 {
		return ""
	}
	return string(r.rows[row][i])
}

// ask runs statements by the simple protocol, in which every value comes as the
// text that its output function writes. what is for the error.
func (c *session) ask(ctx context.Context, what, statements string) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	results, err := c.conn.Exec(ctx, statements).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	r := new(result)
	for _, one := range results {
		if len(one.FieldDescriptions) == 0 {
			continue
		}
		r = &result{rows: one.Rows}
		for _, f := range one.FieldDescriptions {
			r.columns = append(r.columns, f.Name)
		}
	}
	return r, nil
}

// literal quotes s as a string constant; standard_conforming_strings is pinned.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quoted quotes names, joined by dots.
func quoted(names ...string) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}

// refused reports whether the table cannot be read until somebody changes
// something, as opposed to what failed.
func refused(err error) bool {
	var said *pgconn.PgError
	return errors.Is(err, errHidden) || errors.As(err, &said) && said.Code == "42501"
}

// gone reports whether the table, or a column of it, is not there any more.
func gone(err error) bool {
	var said *pgconn.PgError
	return errors.Is(err, errAnother) || errors.As(err, &said) && (said.Code == "42P01" || said.Code == "3F000" || said.Code == "42703")
}

// ofTable reports whether the server, or we, could not read a table, as opposed
// to anything.
func ofTable(err error) bool {
	var said *pgconn.PgError
	return refused(err) || gone(err) || errors.As(err, &said)
}
