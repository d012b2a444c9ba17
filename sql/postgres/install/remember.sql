-- What the followed tables look like now, for those that nobody looked at yet.
INSERT INTO pgwitness.audited (relation, known)
SELECT DISTINCT t.tgrelid, pgwitness.describe(t.tgrelid, false)
  FROM pg_catalog.pg_trigger AS t
 WHERE t.tgfoid = to_regprocedure('pgwitness.stamp()')
    ON CONFLICT DO NOTHING;
