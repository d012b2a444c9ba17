package pgwitness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/sink"
)

// Engines are the embedded PostgreSQL and ClickHouse of a state folder: what
// stands behind an empty DSN.
type Engines struct {
	Postgres   *engine.Postgres
	ClickHouse *engine.ClickHouse
}

// addresses is the file engines.json, by which one process of ours finds the
// engines that another one runs. It holds passwords, so only its owner can
// read it.
type addresses struct {
	Postgres   string `json:"postgres,omitempty"` // of the database postgres, as superuser
	ClickHouse struct {
		Admin  string `json:"admin"`
		Writer string `json:"writer"`
		Reader string `json:"reader"`
		Vault  string `json:"vault"`
	} `json:"clickhouse"`
}

// attach fills the empty DSNs of the configuration with those of embedded
// engines: of the ones that another process of ours runs on the same state
// folder, or else of new ones. release stops what was started here.
func (w *Witness) attach(ctx context.Context) (release func(), err error) {
	needPostgres, needClickHouse := w.missing()
	if !needPostgres && !needClickHouse {
		return func() {}, nil
	}
	file := filepath.Join(w.cfg.StateDir, "engines.json")
	if a, err := readAddresses(file); err == nil && a.answer(ctx, needPostgres, needClickHouse) {
		return func() {}, w.useAddresses(ctx, a)
	}
	engines, err := w.startEngines(ctx, needPostgres, needClickHouse)
	if err != nil {
		return nil, err
	}
	release = func() {
		_ = os.Remove(file)
		engines.Stop()
	}
	a := engines.addresses(w.cfg.ClickHouse.Database)
	if err := writeAddresses(file, a); err != nil {
		release()
		return nil, err
	}
	if err := w.useAddresses(ctx, a); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// missing says which DSNs the configuration leaves to embedded engines.
func (w *Witness) missing() (postgres, clickhouse bool) {
	for _, s := range w.cfg.Streams {
		postgres = postgres || s.Postgres.DSN == ""
	}
	return postgres, w.cfg.ClickHouse.DSN == ""
}

func (w *Witness) startEngines(ctx context.Context, postgres, clickhouse bool) (*Engines, error) {
	parts, err := engine.Find(w.cfg.Engines)
	if err != nil && (postgres && parts.Postgres == "" || clickhouse && parts.ClickHouse == "") {
		return nil, err
	}
	dir, err := filepath.Abs(w.cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("find state folder: %w", err)
	}
	e := &Engines{}
	if postgres {
		e.Postgres = engine.NewPostgres(engine.PostgresConfig{BinDir: parts.Postgres, Dir: filepath.Join(dir, "postgres")})
		if err := e.Postgres.Start(ctx); err != nil {
			return nil, err
		}
	}
	if clickhouse {
		e.ClickHouse = engine.NewClickHouse(engine.ClickHouseConfig{
			Library: parts.ClickHouse, Dir: filepath.Join(dir, "clickhouse"), Users: embeddedUsers(w.cfg.ClickHouse.Database),
			Executable: w.engineCommand,
		})
		if err := e.ClickHouse.Start(ctx); err != nil {
			e.Stop()
			return nil, err
		}
	}
	return e, nil
}

// embeddedUsers are the users of an embedded ClickHouse, with the rights that
// setup gives them on a server.
func embeddedUsers(database string) []engine.User {
	var users []engine.User
	for name, grants := range sink.Grants(database) {
		u := engine.User{Name: name, Grants: grants}
		for _, table := range sink.Closed(name) {
			u.Filters = append(u.Filters, engine.RowFilter{Database: database, Table: table, Condition: "0"})
		}
		users = append(users, u)
	}
	return users
}

func (e *Engines) addresses(database string) addresses {
	var a addresses
	if e.Postgres != nil {
		a.Postgres = e.Postgres.DSN("postgres")
	}
	if c := e.ClickHouse; c != nil {
		a.ClickHouse.Admin = c.DSN(engine.Admin, "")
		a.ClickHouse.Writer = c.DSN(sink.Writer, "")
		a.ClickHouse.Reader = c.DSN(sink.Reader, "")
		a.ClickHouse.Vault = c.DSN(sink.Vault, "")
	}
	return a
}

// Stop ends the engines that run, in order, within half a minute.
func (e *Engines) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if e.ClickHouse != nil {
		_ = e.ClickHouse.Stop(ctx) // it is killed when it does not obey; what was stored is durable
	}
	if e.Postgres != nil {
		_ = e.Postgres.Stop(ctx)
	}
}

func readAddresses(file string) (a addresses, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return a, fmt.Errorf("read engine addresses: %w", err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("read engine addresses in %s: %w", file, err)
	}
	return a, nil
}

func writeAddresses(file string, a addresses) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("write engine addresses: %w", err)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write engine addresses: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write engine addresses: %w", err)
	}
	return nil
}

// answer reports whether the engines of a that are needed accept connections.
func (a addresses) answer(ctx context.Context, postgres, clickhouse bool) bool {
	if postgres && !listens(ctx, a.Postgres) {
		return false
	}
	return !clickhouse || listens(ctx, a.ClickHouse.Admin)
}

// useAddresses puts the DSNs of a where the configuration has none. Each stream
// has a database of its own name on the embedded PostgreSQL.
func (w *Witness) useAddresses(ctx context.Context, a addresses) error {
	c := &w.cfg.ClickHouse
	if c.DSN == "" {
		w.embedded = true
		c.DSN, c.AdminDSN, c.ReaderDSN, c.VaultDSN = a.ClickHouse.Writer, a.ClickHouse.Admin, a.ClickHouse.Reader, a.ClickHouse.Vault
	}
	for i := range w.cfg.Streams {
		s := &w.cfg.Streams[i]
		if s.Postgres.DSN != "" {
			continue
		}
		dsn, err := ensureDatabase(ctx, a.Postgres, s.Name)
		if err != nil {
			return err
		}
		s.Postgres.DSN = dsn
	}
	return nil
}

// ensureDatabase creates a database on the server of dsn if it is not there,
// and returns the DSN that leads to it.
func ensureDatabase(ctx context.Context, dsn, name string) (string, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", fmt.Errorf("connect to embedded postgres: %w", err)
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil {
		return "", fmt.Errorf("look for database %s: %w", name, err)
	}
	if !there {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
			return "", fmt.Errorf("create database %s: %w", name, err)
		}
	}
	return withDatabase(dsn, name)
}

// makeStateDir makes the state folder.
func (w *Witness) makeStateDir() error {
	if err := os.MkdirAll(w.cfg.StateDir, 0o711); err != nil {
		return audit.WithHint(fmt.Errorf("make state folder: %w", err), "set state_dir in the configuration to a folder that can be written")
	}
	return nil
}

// listens reports whether something accepts connections at the host of dsn.
func listens(ctx context.Context, dsn string) bool {
	host, err := hostOf(dsn)
	if err != nil {
		return false
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
