-- The slot $1 and the server that it is on. There is always one row; without
-- the slot, its columns are NULL. Columns that only some versions have are
-- taken out of the row as JSON, so that one statement does for 14 and later.
SELECT (SELECT system_identifier
          FROM pg_catalog.pg_control_system())                       AS system_id,
       CASE WHEN pg_is_in_recovery()
            THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
       END                                                           AS timeline,
       pg_is_in_recovery()                                           AS standby,
       current_setting('server_version_num')                         AS server_version,
       current_database()                                            AS database,
       CASE WHEN pg_is_in_recovery()
            THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_flush_lsn()
       END                                                           AS current_lsn,
       s.slot_name                                                   AS slot_name,
       s.plugin                                                      AS plugin,
       s.database                                                    AS slot_database,
       s.confirmed_flush_lsn                                         AS confirmed_flush_lsn, -- what we acknowledged
       s.restart_lsn                                                 AS restart_lsn,         -- the log is kept from here
       s.wal_status                                                  AS wal_status,          -- reserved, extended, unreserved, lost
       s.safe_wal_size                                               AS safe_wal_size,       -- bytes until it may be lost
       coalesce(s.active_pid, (SELECT c.active_pid -- of the cursor of a backlog, see cursor.sql
                                 FROM pg_catalog.pg_replication_slots AS c
                                WHERE c.temporary AND starts_with(c.slot_name::text, left(s.slot_name::text, 40) || '_ahead_')
                                LIMIT 1))                            AS active_pid,
       to_jsonb(s) ->> 'invalidation_reason'                         AS invalidation_reason, -- 17 and later
       to_jsonb(s) ->> 'synced'                                      AS synced               -- 17 and later
  FROM (SELECT 1) AS always
  LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.slot_name = $1
