-- The columns of table $2 in schema $1, in their order, and whether each is
-- generated; virtual ones, which are in no log, are left out. Whether the table is a partitioned one, whose rows lie in its
-- partitions.
SELECT a.attname::text       AS column_name,
       a.attgenerated <> ''  AS generated,
       c.relkind = 'p'       AS partitioned
  FROM pg_catalog.pg_attribute AS a
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2
   AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
 ORDER BY a.attnum
