-- Who holds locks on the table $1, oldest transaction first: whom a statement
-- of setup has to wait for.
SELECT a.pid,
       coalesce(a.usename::text, '')                                       AS role,
       coalesce(a.application_name, '')                                    AS application,
       coalesce(a.state, '')                                               AS state,
       coalesce(extract(epoch FROM now() - a.xact_start), 0)::bigint       AS seconds  -- that its transaction is open
  FROM pg_catalog.pg_locks AS l
  JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.relation = to_regclass($1) AND l.granted AND a.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
 GROUP BY a.pid, a.usename, a.application_name, a.state, a.xact_start
 ORDER BY a.xact_start
 LIMIT 3
