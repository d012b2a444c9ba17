-- DDL becomes entries, and new tables are followed. ALWAYS: also where
-- session_replication_role is replica.
DROP EVENT TRIGGER IF EXISTS {name};
CREATE EVENT TRIGGER {name} ON {event} EXECUTE FUNCTION pgwitness.ddl();
ALTER EVENT TRIGGER {name} ENABLE ALWAYS;
