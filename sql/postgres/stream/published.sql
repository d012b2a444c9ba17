-- The tables of publication $1 as verify compares them: name, about how many
-- rows, and the condition that the publication puts on rows. That is a column
-- since 15, and is taken out of the row as JSON so that one statement does for
-- 14 and later.
SELECT pt.schemaname::text                              AS schema_name,
       pt.tablename::text                               AS table_name,
       greatest(0, c.reltuples)::bigint                 AS about_rows,  -- 0: never analysed
       coalesce(to_jsonb(pt) ->> 'rowfilter', '')::text AS row_filter   -- '': none
  FROM pg_catalog.pg_publication_tables AS pt
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = pt.schemaname
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = pt.tablename
 WHERE pt.pubname = $1
   AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) -- of a table without columns there is nothing to compare
 ORDER BY 1, 2
