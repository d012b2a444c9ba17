-- Every table that bears a trigger of ours, in whatever state.
SELECT '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"' AS name,
       array_agg(t.tgname::text ORDER BY t.tgname) AS triggers
  FROM pg_catalog.pg_trigger AS t
  JOIN pg_catalog.pg_class AS c     ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE t.tgfoid = to_regprocedure('pgwitness.stamp()') AND NOT t.tgisinternal
 GROUP BY n.nspname, c.relname
 ORDER BY name
