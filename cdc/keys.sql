-- The primary keys of all tables of publication $1, and the partitioned tables
-- that they belong to: one row per key column.
SELECT c.oid     AS relation_id,
       a.attname AS column_name,
       CASE WHEN c.relispartition THEN rn.nspname END AS root_schema,
       CASE WHEN c.relispartition THEN r.relname END  AS root_name
  FROM pg_catalog.pg_publication_tables AS p
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = p.schemaname
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.tablename
  JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
  LEFT JOIN pg_catalog.pg_class AS r ON r.oid = pg_catalog.pg_partition_root(c.oid)
  LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
 WHERE p.pubname = $1 AND k.place <= i.indnkeyatts
 ORDER BY c.oid, k.place
