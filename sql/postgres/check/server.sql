-- The server, the connection, and the settings that capture depends on. $1 is
-- the role that the sidecar runs as. Settings that only some versions have are
-- NULL elsewhere.
SELECT current_setting('server_version_num')::int                  AS version_num,
       current_setting('server_version')                           AS version,
       current_database()::text                                    AS database,
       current_setting('server_encoding')                          AS encoding,
       pg_is_in_recovery()                                         AS standby,
       current_setting('wal_level')                                AS wal_level,
       current_setting('max_replication_slots')::int               AS max_slots,
       (SELECT count(*)::int FROM pg_catalog.pg_replication_slots) AS used_slots,
       current_setting('max_wal_senders')::int                     AS max_senders,
       (SELECT count(*)::int FROM pg_catalog.pg_stat_replication)  AS used_senders,
       (SELECT setting::bigint FROM pg_catalog.pg_settings
         WHERE name = 'wal_sender_timeout')                        AS sender_timeout_ms,   -- 0: never
       (SELECT setting::bigint FROM pg_catalog.pg_settings
         WHERE name = 'max_slot_wal_keep_size')                    AS slot_keep_mb,        -- -1: no bound
       (SELECT extract(epoch FROM (setting || unit)::interval)::bigint
          FROM pg_catalog.pg_settings
         WHERE name = 'idle_replication_slot_timeout')             AS slot_idle_s,         -- 18 and later; 0: never
       current_setting('max_prepared_transactions')::int           AS max_prepared,
       (SELECT count(*)::int FROM pg_catalog.pg_prepared_xacts
         WHERE database = current_database())                      AS prepared,
       pg_backend_pid()                                            AS backend_pid,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint   AS clock_us,
       current_user::text                                          AS role,
       r.rolsuper                                                  AS superuser,
       r.rolreplication                                            AS replication,
       has_database_privilege(current_database(), 'CREATE')        AS may_create,
       (SELECT bool_and(has_function_privilege(oid, 'EXECUTE'))
          FROM pg_catalog.pg_proc
         WHERE proname = 'pg_logical_emit_message'
           AND pronamespace = 'pg_catalog'::regnamespace)          AS may_emit,
       -- PostgreSQL wants a superuser; managed hosts let their administrator.
       r.rolsuper OR EXISTS (SELECT FROM pg_catalog.pg_roles AS h
                              WHERE h.rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin', 'neon_superuser')
                                AND pg_has_role(h.oid, 'MEMBER')) AS may_event_triggers,
       s.oid IS NOT NULL                                           AS sidecar_exists,
       coalesce(s.rolsuper, false)                                 AS sidecar_superuser,
       coalesce(s.rolreplication, false)                           AS sidecar_replication
  FROM pg_catalog.pg_roles AS r
  LEFT JOIN pg_catalog.pg_roles AS s ON s.rolname = $1
 WHERE r.rolname = current_user
