-- The primary keys of all tables, and the partitioned tables that they belong
-- to: one row per key column. Of all, because the view that says which of them
-- are published locks each one, and waits behind an ALTER TABLE for hours.
SELECT c.oid     AS relation_id,
       a.attname AS column_name,
       CASE WHEN c.relispartition THEN rn.nspname END AS root_schema,
       CASE WHEN c.relispartition THEN r.relname END  AS root_name
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
  LEFT JOIN pg_catalog.pg_class AS r ON r.oid = pg_catalog.pg_partition_root(c.oid)
  LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
 WHERE c.oid >= 16384 AND c.relpersistence = 'p' AND k.place <= i.indnkeyatts
 ORDER BY c.oid, k.place
