-- What setup recorded. The name of a table is the one it has now; a table that
-- was dropped since is left out.
SELECT i.kind,
       coalesce('"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"',
                i.name)                                         AS name,
       coalesce(i.identity::text, '')                          AS identity,
       coalesce(i.identity_index::text, '')                    AS identity_index,
       coalesce(c.relreplident::text, '')                      AS current_identity,
       coalesce(c.relkind IN ('r', 'p'), false)                AS is_table
  FROM pgwitness.installed AS i
  LEFT JOIN pg_catalog.pg_class     AS c ON c.oid = i.relation
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE i.relation IS NULL OR c.oid IS NOT NULL
 ORDER BY i.kind, name
