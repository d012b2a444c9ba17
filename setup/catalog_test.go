package setup

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// catalogs renders every row of the catalogs that setup may touch. Left out is
// what statements like CREATE and DROP change for good wherever they are run:
// the hints of relhastriggers and relhasrules, which only VACUUM takes back,
// statistics, and OIDs where rows refer to nothing else by them. With versions,
// the transaction that wrote each row is rendered too: any UPDATE shows.
func (d *database) catalogs(versions bool) []string {
	d.t.Helper()
	queries := []string{
		`SELECT 'pg_namespace', {v} to_jsonb(c) FROM pg_namespace c`,
		`SELECT 'pg_class', {v} to_jsonb(c) - '{relhastriggers,relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'::text[]
		   FROM pg_class c WHERE relkind <> 't'`,
		`SELECT 'pg_attribute', {v} to_jsonb(c) FROM pg_attribute c`,
		`SELECT 'pg_index', {v} to_jsonb(c) FROM pg_index c`,
		`SELECT 'pg_constraint', {v} to_jsonb(c) FROM pg_constraint c`,
		`SELECT 'pg_proc', {v} to_jsonb(c) FROM pg_proc c`,
		`SELECT 'pg_type', {v} to_jsonb(c) FROM pg_type c`,
		`SELECT 'pg_trigger', {v} to_jsonb(c) FROM pg_trigger c`,
		`SELECT 'pg_event_trigger', {v} to_jsonb(c) FROM pg_event_trigger c`,
		`SELECT 'pg_policy', {v} to_jsonb(c) FROM pg_policy c`,
		`SELECT 'pg_publication', {v} to_jsonb(c) FROM pg_publication c`,
		`SELECT 'pg_publication_rel', {v} to_jsonb(c) FROM pg_publication_rel c`,
		`SELECT 'pg_depend', {v} to_jsonb(c) FROM pg_depend c`,
		`SELECT 'pg_shdepend', {v} to_jsonb(c) FROM pg_shdepend c WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`,
		`SELECT 'pg_description', {v} to_jsonb(c) FROM pg_description c`,
		`SELECT 'pg_default_acl', {v} to_jsonb(c) FROM pg_default_acl c`,
		`SELECT 'pg_db_role_setting', {v} to_jsonb(c) FROM pg_db_role_setting c`,
		`SELECT 'pg_authid', {v} to_jsonb(c) FROM pg_authid c`,
		`SELECT 'pg_replication_slots', to_jsonb(c) - '{confirmed_flush_lsn,restart_lsn,catalog_xmin,inactive_since,safe_wal_size,wal_status}'::text[]
		   FROM pg_replication_slots c WHERE database = current_database()`,
	}
	version := ""
	if versions {
		version = "c.xmin,"
	}
	var lines []string
	for _, query := range queries {
		query = "SELECT row(q.*)::text FROM (" + strings.Replace(query, "{v}", version, 1) + ") AS q ORDER BY 1"
		rows, err := d.conn.Query(context.Background(), query)
		if err != nil {
			d.t.Fatalf("%s: %v", query, err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			d.t.Fatalf("%s: %v", query, err)
		}
		lines = append(lines, found...)
	}
	return lines
}
