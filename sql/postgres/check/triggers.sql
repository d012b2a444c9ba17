-- Every table that bears a trigger of ours, in whatever state.
SELECT '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"' AS name,
       array_agg(t.tgname::text ORDER BY t.tgname) AS triggers
  FROM pg_catalog.pg_trigger AS t
  JOIN pg_catalog.pg_class AS c     ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE t.tgfoid IN (to_regprocedure('pgwitness.stamp()'), to_regprocedure('pgwitness.guard()')) AND NOT t.tgisinternal
   AND t.tgparentid = 0 -- one on a partition goes with that of its parent
 GROUP BY n.nspname, c.relname
 ORDER BY name
