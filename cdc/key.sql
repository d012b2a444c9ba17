-- The primary key columns of table $1 (an OID), in the order of the key. No row
-- when there is no such table; one row with NULL when it has no primary key.
SELECT a.attname AS column_name
  FROM pg_catalog.pg_class AS c
  LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
  LEFT JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
         ON k.place <= i.indnkeyatts
  LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
 WHERE c.oid = $1
 ORDER BY k.place
