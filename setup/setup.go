// Package setup prepares the audited PostgreSQL for capture, and takes
// everything out again: it finds out what is in the way (Check), works out the
// statements that are still needed (Prepare), runs them without holding up the
// application (Apply), and undoes them (PrepareTeardown, Teardown).
//
// What it installs is the schema pgwitness with the keys and the functions of
// the stamps, two statement triggers for each audited table, a replica
// identity, a publication of these tables and, last, a logical replication
// slot. The statements are the files in sql/postgres; docs/stamps.md tells what
// a stamp is.
//
// Setup holds no state of its own: what is there is read from the catalogs,
// and what was there before is recorded in pgwitness.installed. It can be
// interrupted anywhere; the next one goes on with what is missing. It never
// touches a row of the application, never publishes all tables, and never
// changes a setting of the server.
package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sql"
)

// connect opens a connection. Nothing is set on it yet: behind it may be a
// pooler, which would hand the settings to the application's next transaction.
func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, audit.WithHint(errors.New("connect to audited database: the DSN cannot be read"),
			"the form is postgres://user:password@host:5432/database, special characters percent-encoded")
	}
	cfg.RuntimeParams["application_name"] = "pgwitness setup"
	cfg.RuntimeParams["client_encoding"] = "UTF8" // names of tables, whatever the database is encoded in
	// Statements are not prepared by name: a pooler would lose them.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, explainConnect(fmt.Errorf("connect to audited database: %w", err))
	}
	return conn, nil
}

// survey connects and looks at everything that setup and check decide by. The
// connection is the caller's.
func survey(ctx context.Context, cfg Config) (*pgx.Conn, *view, error) {
	conn, err := connect(ctx, cfg.DSN)
	if err != nil {
		return nil, nil, err
	}
	v, err := look(ctx, conn, cfg)
	if err != nil {
		conn.Close(ctx)
		return nil, nil, err
	}
	return conn, v, nil
}

// settings that the statements of this package rely on, whatever the role or
// the database sets. Scope is SET LOCAL or SET.
func settings(scope string) string {
	return scope + " search_path = pg_catalog, pg_temp; " +
		scope + " standard_conforming_strings = on; " +
		scope + " statement_timeout = 0; " +
		scope + " client_min_messages = warning; "
}

// explainConnect gives the commonest refusals a hint.
func explainConnect(err error) error {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return audit.WithHint(err, "is the server running, and are host and port of the DSN right?")
	}
	switch said.Code {
	case "28P01", "28000":
		return audit.WithHint(err, "check user and password of the DSN, and pg_hba.conf")
	case "3D000":
		return audit.WithHint(err, "the DSN names a database that does not exist: psql -l lists them")
	case "08P01", "42704":
		return audit.WithHint(err, "a pooler such as PgBouncer may be in between: connect to the server itself")
	}
	return err
}

// statements reads a file of sql/postgres and fills in its placeholders.
func statements(name string, fill ...string) (string, error) {
	text, err := sql.Postgres.ReadFile("postgres/" + name)
	if err != nil {
		return "", fmt.Errorf("read statement %s: %w", name, err)
	}
	return strings.NewReplacer(fill...).Replace(string(text)), nil
}

// quoted is name as an identifier in SQL.
func quoted(name ...string) string { return pgx.Identifier(name).Sanitize() }

// literal is s as a string literal in SQL, whatever standard_conforming_strings
// is set to.
func literal(s string) string {
	quote := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quote, `\`, `\\`)
	}
	return quote
}
