-- A temporary copy of the slot $1, which ends with this session: the reader of
-- the backlog consumes from it, while the slot itself stands where everything is
-- stored. It counts against max_replication_slots.
SELECT slot_name AS cursor
  FROM pg_catalog.pg_copy_logical_replication_slot($1, left($1, 40) || '_ahead_' || pg_backend_pid(), true)
