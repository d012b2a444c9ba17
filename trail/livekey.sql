-- The primary key columns of table $2 in schema $1, in the order of the key.
SELECT a.attname::text AS column_name
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
 WHERE n.nspname = $1 AND c.relname = $2 AND k.place <= i.indnkeyatts
 ORDER BY k.place
