-- The primary key columns of table $1 (an OID), in the order of the key, and the
-- partitioned table that it belongs to, if it is a partition. No row when there
-- is no such table; one row with a NULL column when it has no primary key.
SELECT a.attname AS column_name,
       CASE WHEN c.relispartition THEN n.nspname END AS root_schema,
       CASE WHEN c.relispartition THEN r.relname END AS root_name
  FROM pg_catalog.pg_class AS c
  LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
  LEFT JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
         ON k.place <= i.indnkeyatts
  LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
  LEFT JOIN pg_catalog.pg_class AS r ON r.oid = pg_catalog.pg_partition_root(c.oid)
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
 WHERE c.oid = $1
 ORDER BY k.place
