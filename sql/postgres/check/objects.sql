-- What is there of the schema pgwitness. $1 is the role that the sidecar runs
-- as. There is always one row.
SELECT n.oid IS NOT NULL                                                    AS schema,
       coalesce(has_schema_privilege('public', n.oid, 'USAGE'), false)      AS public_usage,
       coalesce(pg_has_role(n.nspowner, 'USAGE'), false)                    AS owned,
       secret.oid IS NOT NULL                                               AS secret,
       coalesce(secret.relrowsecurity, false)                               AS secret_guarded,      -- row level security
       installed.oid IS NOT NULL                                            AS installed,
       coalesce(has_table_privilege(current_user, installed.oid, 'SELECT'), false) AS may_read_installed,
       coalesce(has_table_privilege(s.oid, installed.oid, 'SELECT'), false) AS sidecar_installed,
       coalesce(s.rolsuper OR pg_has_role(s.oid, secret.relowner, 'USAGE')
                OR has_table_privilege(s.oid, secret.oid, 'SELECT')
                   AND EXISTS (SELECT FROM pg_catalog.pg_policy AS p
                                WHERE p.polrelid = secret.oid AND s.oid = ANY (p.polroles)),
                false)                                                      AS sidecar_secret,
       coalesce(pg_has_role(secret.relowner, 'USAGE')
                OR has_table_privilege(current_user, secret.oid, 'SELECT')
                   AND EXISTS (SELECT FROM pg_catalog.pg_policy AS p
                                WHERE p.polrelid = secret.oid
                                  AND (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) = ANY (p.polroles)),
                false)                                                      AS may_read_secret,
       pattern.oid IS NOT NULL AND remembered.oid IS NOT NULL              AS following,
       coalesce(has_table_privilege(current_user, pattern.oid, 'SELECT')
                AND has_table_privilege(current_user, remembered.oid, 'SELECT'), false) AS may_read_following,
       coalesce(has_table_privilege(s.oid, remembered.oid, 'SELECT'), false) AS sidecar_following,
       ARRAY(SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END
               FROM aclexplode(secret.relacl) AS a
              WHERE a.grantee <> secret.relowner AND a.grantee IS DISTINCT FROM s.oid
              GROUP BY a.grantee ORDER BY 1)                                AS secret_readers       -- who has any right to it besides
  FROM (SELECT 1) AS always
  LEFT JOIN pg_catalog.pg_namespace AS n         ON n.nspname = 'pgwitness'
  LEFT JOIN pg_catalog.pg_class     AS secret    ON secret.relnamespace = n.oid AND secret.relname = 'secret'
  LEFT JOIN pg_catalog.pg_class     AS installed ON installed.relnamespace = n.oid AND installed.relname = 'installed'
  LEFT JOIN pg_catalog.pg_class     AS pattern    ON pattern.relnamespace = n.oid AND pattern.relname = 'pattern'
  LEFT JOIN pg_catalog.pg_class     AS remembered ON remembered.relnamespace = n.oid AND remembered.relname = 'audited'
  LEFT JOIN pg_catalog.pg_roles     AS s         ON s.rolname = $1
