package cdc

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// row is a row of a result as text, column by name; a column that is NULL is
// left out. Its methods read one column, and err keeps the first that could
// not be read.
type row struct {
	columns map[string]string
	err     error
}

func (r *row) text(column string) string { return r.columns[column] }

func (r *row) flag(column string) bool {
	return r.columns[column] == "t" || r.columns[column] == "true"
}

// number returns absent for NULL.
func (r *row) number(column string, absent int64) int64 {
	text, ok := r.columns[column]
	if !ok {
		return absent
	}
	n, err := strconv.ParseInt(text, 10, 64)
	r.keep(column, err)
	return n
}

func (r *row) lsn(column string) audit.LSN {
	text, ok := r.columns[column]
	if !ok {
		return 0
	}
	lsn, err := audit.ParseLSN(text)
	r.keep(column, err)
	return lsn
}

func (r *row) keep(column string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("read column %s: %w", column, err)
	}
}

// ask runs one statement by the simple protocol, the only one that a walsender
// speaks, with args as literals in the places of $1 and what follows.
func ask(ctx context.Context, conn *pgconn.PgConn, sql string, args ...string) ([]row, error) {
	results, err := conn.Exec(ctx, fillIn(sql, args...)).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("got %d results, want 1", len(results))
	}
	rows := make([]row, len(results[0].Rows))
	for i, values := range results[0].Rows {
		rows[i].columns = map[string]string{}
		for j, field := range results[0].FieldDescriptions {
			if values[j] != nil {
				rows[i].columns[field.Name] = string(values[j])
			}
		}
	}
	return rows, nil
}

// fillIn puts args as literals into the places of $1 and what follows.
func fillIn(sql string, args ...string) string {
	places := make([]string, 0, 2*len(args))
	for i, arg := range args {
		places = append(places, "$"+strconv.Itoa(i+1), literal(arg))
	}
	return strings.NewReplacer(places...).Replace(sql)
}

// askOne is ask for a statement that always returns one row.
func askOne(ctx context.Context, conn *pgconn.PgConn, sql, arg string) (row, error) {
	rows, err := ask(ctx, conn, sql, arg)
	if err != nil {
		return row{}, err
	}
	if len(rows) != 1 {
		return row{}, fmt.Errorf("got %d rows, want 1", len(rows))
	}
	return rows[0], nil
}

// literal quotes s as a string constant; standard_conforming_strings is pinned.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifier quotes s as a name.
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// sideline is an ordinary connection for questions to the catalog, opened when
// the first is asked, and again after an error. Several goroutines may ask.
type sideline struct {
	dsn     string
	timeout time.Duration // for one question, connecting included

	mu   sync.Mutex
	conn *pgconn.PgConn // nil while closed
}

// do lets question ask on the connection. One that was kept may have ended
// since, with its server; then the question is asked again on a new one.
func (s *sideline) do(ctx context.Context, question func(context.Context, *pgconn.PgConn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if s.conn != nil {
		err := question(ctx, s.conn)
		if err == nil || !s.conn.IsClosed() || ctx.Err() != nil {
			return s.keep(ctx, err)
		}
		s.conn = nil
	}
	cfg, err := parseDSN(s.dsn, false)
	if err != nil {
		return err
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return explainConnect(err)
	}
	s.conn = conn
	return s.keep(ctx, question(ctx, conn))
}

// keep keeps the connection after a question that was answered, and no other:
// nobody knows the state that an error leaves it in.
func (s *sideline) keep(ctx context.Context, err error) error {
	if err != nil {
		s.conn.Close(ctx)
		s.conn = nil
	}
	return err
}

// close closes the connection; the next question would open it again.
func (s *sideline) close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close(ctx)
	s.conn = nil
	return err
}
