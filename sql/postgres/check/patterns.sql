-- The patterns that the event triggers know, in order.
SELECT p.publication::text AS publication, p.excludes, p.schema_regex, p.name_regex,
       coalesce(p.identity::text, '') AS identity
  FROM pgwitness.pattern AS p
 ORDER BY p.position
