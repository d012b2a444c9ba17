-- How many followed tables nobody looked at yet.
SELECT count(DISTINCT t.tgrelid)::int AS tables
  FROM pg_catalog.pg_trigger AS t
 WHERE t.tgfoid = to_regprocedure('pgwitness.stamp()')
   AND NOT EXISTS (SELECT FROM pgwitness.audited AS a WHERE a.relation = t.tgrelid)
