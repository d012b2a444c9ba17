-- One window of a backlog: the cursor $1 is moved to where the window begins, $2,
-- over what another session fetches, and consumes up to its end, which is among
-- the arguments.
SELECT pg_catalog.pg_replication_slot_advance(slot_name, $2)
  FROM pg_catalog.pg_replication_slots
 WHERE slot_name = $1 AND confirmed_flush_lsn < $2;

COPY (SELECT lsn, data FROM pg_catalog.pg_logical_slot_get_binary_changes($arguments)) TO STDOUT (FORMAT binary)
