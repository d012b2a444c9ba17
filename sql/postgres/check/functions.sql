-- The functions of the schema pgwitness, for comparison with the files that
-- they were made of.
SELECT p.proname::text                                    AS name,
       pg_get_function_identity_arguments(p.oid)          AS arguments,
       p.prosrc                                           AS body,
       l.lanname::text                                    AS language,
       p.prosecdef                                        AS definer,    -- SECURITY DEFINER
       p.provolatile::text                                AS volatility, -- i, s or v
       coalesce(p.proconfig, '{}')                        AS config,     -- SET name=value
       has_function_privilege('public', p.oid, 'EXECUTE') AS public_execute
  FROM pg_catalog.pg_proc      AS p
  JOIN pg_catalog.pg_language  AS l ON l.oid = p.prolang
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
 WHERE n.nspname = 'pgwitness'
 ORDER BY name, arguments
