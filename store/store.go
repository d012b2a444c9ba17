// Package store says how an entry lies in ClickHouse, and opens the connections
// to it: the columns that are sent when a batch is inserted and decoded when it
// is read back, one DSN for both ClickHouse libraries, and errors that tell an
// operator what is wrong and what to do next.
//
// Columns is the one place that knows the order and the wire types of the table
// audit_logs; the schema itself is sql/clickhouse/migrations. Memory of a block
// that was read is lent, not given: see Columns.Row.
//
// This package never decides what is written or when, never retries, and never
// puts a password or a value of a row into an error.
package store
