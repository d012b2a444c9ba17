-- The process that reads slot $1; 0 when none does, or when there is no slot.
SELECT coalesce((SELECT s.active_pid FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $1), 0) AS pid
