-- The primary key columns of table $1 (an OID), in the order of the key, and the
-- partitioned table that it belongs to, if it is a partition. One row without a
-- relation_id when there is no such table; one without a column_name when it has
-- no primary key.
--
-- visible says whether this statement sees what transaction $2 did. A commit is
-- in the log, and may have been sent, before it is visible to others. The
-- number of a transaction in the log lacks its epoch: it is the one that is
-- nearest to those of now.
WITH now AS MATERIALIZED (
  SELECT pg_catalog.pg_current_snapshot() AS snapshot
), newest AS MATERIALIZED (
  SELECT snapshot, pg_catalog.pg_snapshot_xmax(snapshot)::text::numeric AS xid FROM now
), subject AS MATERIALIZED (
  SELECT snapshot, greatest(3, xid + ($2::numeric - xid % 4294967296 + 6442450944) % 4294967296 - 2147483648)::text::xid8 AS xid FROM newest
)
SELECT pg_catalog.pg_visible_in_snapshot(s.xid, s.snapshot) AS visible,
       c.oid AS relation_id,
       a.attname AS column_name,
       CASE WHEN c.relispartition THEN n.nspname END AS root_schema,
       CASE WHEN c.relispartition THEN r.relname END AS root_name
  FROM subject AS s
  LEFT JOIN pg_catalog.pg_class AS c ON c.oid = $1
  LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
  LEFT JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
         ON k.place <= i.indnkeyatts
  LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
  LEFT JOIN pg_catalog.pg_class AS r ON r.oid = pg_catalog.pg_partition_root(c.oid)
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
 ORDER BY k.place
