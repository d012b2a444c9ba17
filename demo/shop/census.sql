-- Counts what was committed, with PostgreSQL's own decoder and plain SQL, so
-- that a trail can be compared with something that shares no code with it.
-- $1 is a slot of plugin pgoutput, $2 a publication.

-- The layout of pgoutput, protocol 1: I, U and D are followed by the OID of
-- the table; T by the number of tables, one byte of options, and their OIDs.
-- name: count
WITH messages AS MATERIALIZED (
    SELECT chr(get_byte(data, 0)) AS kind, data
      FROM pg_logical_slot_peek_binary_changes($1::text::name, NULL, NULL, 'proto_version', '1', 'publication_names', $2::text)
), changes AS (
    SELECT kind, substr(data, 2, 4) AS table_oid FROM messages WHERE kind IN ('I', 'U', 'D')
    UNION ALL
    SELECT kind, substr(data, 7 + 4 * n, 4)
      FROM messages, generate_series(0, ('x' || encode(substr(data, 2, 4), 'hex'))::bit(32)::int - 1) AS n
     WHERE kind = 'T'
), counted AS (
    SELECT ('x' || encode(table_oid, 'hex'))::bit(32)::bigint::oid AS table_oid, kind, count(*) AS n FROM changes GROUP BY 1, 2
)
SELECT relname::text,
       coalesce(sum(n) FILTER (WHERE kind = 'I'), 0)::bigint,
       coalesce(sum(n) FILTER (WHERE kind = 'U'), 0)::bigint,
       coalesce(sum(n) FILTER (WHERE kind = 'D'), 0)::bigint,
       coalesce(sum(n) FILTER (WHERE kind = 'T'), 0)::bigint
  FROM counted JOIN pg_class ON pg_class.oid = coalesce(pg_partition_root(table_oid)::oid, table_oid)
 GROUP BY relname;

-- name: open
SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput');

-- name: close
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1::text::name;
