-- The slot $1. No row: there is none.
SELECT s.plugin::text                                          AS plugin,      -- NULL: a physical slot
       s.database::text                                        AS database,
       s.active                                                AS active,
       s.active_pid                                            AS active_pid,
       s.temporary                                             AS temporary,
       s.two_phase                                             AS two_phase,
       s.wal_status                                            AS wal_status,  -- reserved, extended, unreserved, lost
       s.safe_wal_size                                         AS safe_bytes,  -- that may still be written before it may be lost
       s.confirmed_flush_lsn::text                             AS confirmed,
       CASE WHEN NOT pg_is_in_recovery()
            THEN pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint
       END                                                     AS retained_bytes,
       coalesce((to_jsonb(s) ->> 'failover')::boolean, false)  AS failover,    -- 17 and later
       coalesce(to_jsonb(s) ->> 'invalidation_reason', '')     AS invalidation -- 17 and later
  FROM pg_catalog.pg_replication_slots AS s
 WHERE s.slot_name = $1
