// Package sql holds every SQL statement that pgwitness ships, as files that
// somebody who only knows SQL can read: what is set up in PostgreSQL, the
// schema and the users of ClickHouse, and the checks an auditor can run by
// himself. It never connects to anything and never composes a statement.
package sql

import "embed"

// Postgres is what setup installs in the audited database and teardown takes
// out again; paths begin with "postgres/".
//
//go:embed postgres
var Postgres embed.FS

// ClickHouse is the schema of the trail as versioned migrations, its users
// and their grants; paths begin with "clickhouse/".
//
//go:embed clickhouse
var ClickHouse embed.FS

// ClickHouseAccess is clickhouse/users.sql: the roles of the trail and what each
// of them may do.
//
//go:embed clickhouse/users.sql
var ClickHouseAccess string

// Verify is the checks of the chain in SQL, for an auditor who believes
// nobody; paths begin with "verify/".
//
//go:embed verify
var Verify embed.FS
