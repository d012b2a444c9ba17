package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/pressly/goose/v3"

	"github.com/pgwitness/pgwitness/sql"
	"github.com/pgwitness/pgwitness/store"
)

// versionTable remembers which migrations were applied.
const versionTable = "schema_versions"

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string // of its file below sql/clickhouse/migrations
}

// Migrate brings the database of admin to the schema of this version, creating
// it where it is missing, and returns what it applied: nothing the second time.
// A crash leaves a step that is repeated; every step may be.
func Migrate(ctx context.Context, admin store.Server) ([]Migration, error) {
	if err := createDatabase(ctx, admin); err != nil {
		return nil, err
	}
	steps, err := stepsFor(ctx, admin)
	if err != nil {
		return nil, err
	}
	db := admin.OpenDB()
	provider, err := goose.NewProvider(goose.DialectClickHouse, db, steps,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read migrations: %w", err), db.Close())
	}
	results, err := provider.Up(ctx)
	var applied []Migration
	for _, r := range results {
		applied = append(applied, Migration{r.Source.Version, path.Base(r.Source.Path)})
	}
	if err != nil {
		err = fmt.Errorf("migrate ClickHouse %s: %w", admin, admin.Explain(err))
	}
	return applied, errors.Join(err, db.Close())
}

func createDatabase(ctx context.Context, admin store.Server) error {
	conn, err := admin.In("").Open(ctx)
	if err != nil {
		return err
	}
	// The name was checked to be an identifier when the configuration was read.
	err = conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+admin.Database+" COMMENT 'pgwitness: the audit trail'")
	if err != nil {
		err = fmt.Errorf("create database %s: %w", admin.Database, admin.Explain(err))
	}
	return errors.Join(err, conn.Close())
}

// Pending lists the steps that the database of server lacks; it changes
// nothing. A missing database lacks all of them. newer is the version of the
// database when a later pgwitness has migrated it, else 0.
func Pending(ctx context.Context, server store.Server) (pending []Migration, newer int64, err error) {
	steps, err := migrationList()
	if err != nil {
		return nil, 0, err
	}
	conn, err := server.In("").Open(ctx)
	if err != nil {
		return nil, 0, err
	}
	current, err := currentVersion(ctx, conn, server.Database)
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, 0, fmt.Errorf("read schema version of %s: %w", server, server.Explain(err))
	}
	for _, s := range steps {
		if s.Version > current {
			pending = append(pending, s)
		}
	}
	if current > steps[len(steps)-1].Version {
		newer = current
	}
	return pending, newer, nil
}

func currentVersion(ctx context.Context, conn driver.Conn, database string) (int64, error) {
	var version int64
	err := conn.QueryRow(ctx, "SELECT max(version_id) FROM "+database+"."+versionTable+" WHERE is_applied").Scan(&version)
	switch store.Code(err) {
	case store.CodeUnknownDatabase, store.CodeUnknownTable:
		return 0, nil
	}
	return version, err
}

func migrations() (fs.FS, error) { return fs.Sub(sql.ClickHouse, "clickhouse/migrations") }

// migrationList is every step that this version knows, in order.
func migrationList() ([]Migration, error) {
	files, err := fs.ReadDir(sql.ClickHouse, "clickhouse/migrations")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var list []Migration
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read migrations: %s does not begin with its version", f.Name())
		}
		list = append(list, Migration{version, f.Name()})
	}
	return list, nil
}
