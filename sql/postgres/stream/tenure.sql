-- Takes the right to write the chain that slot $1 feeds, if nobody has it, and
-- says who has. The lock is of the session: PostgreSQL gives it up when the
-- sidecar's connection ends, in whatever way. The first key is the bytes "pgwt".
SELECT pg_catalog.pg_try_advisory_lock(1885828980, pg_catalog.hashtext($1)) AS held,
       coalesce((SELECT l.pid
                   FROM pg_catalog.pg_locks AS l
                   JOIN pg_catalog.pg_database AS d ON d.oid = l.database
                  WHERE l.locktype = 'advisory' AND d.datname = current_database()
                    AND l.classid::bigint = 1885828980 AND l.objsubid = 2
                    AND l.objid::bigint = pg_catalog.hashtext($1)::bigint & 4294967295
                    AND l.granted AND l.pid <> pg_backend_pid()
                  LIMIT 1), 0)                                              AS holder
