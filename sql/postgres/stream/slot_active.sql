-- Whether somebody reads slot $1: a running sidecar. No row: there is no slot.
SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1
