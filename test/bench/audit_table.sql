-- What many do today: a row trigger that writes old and new row as jsonb into a
-- table of the same database, with an index for the record and one for the time.
CREATE SCHEMA audit;
CREATE TABLE audit.record_version (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    record_id  text,
    op         text NOT NULL,
    ts         timestamptz NOT NULL DEFAULT now(),
    table_oid  oid NOT NULL,
    table_name text NOT NULL,
    actor      text,
    record     jsonb,
    old_record jsonb
);
CREATE INDEX ON audit.record_version (table_oid, record_id);
CREATE INDEX ON audit.record_version (ts);
CREATE FUNCTION audit.record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    now_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
BEGIN
    INSERT INTO audit.record_version (record_id, op, table_oid, table_name, actor, record, old_record)
    VALUES (coalesce(now_row, old_row) ->> TG_ARGV[0], TG_OP, TG_RELID, TG_TABLE_NAME, coalesce(current_setting('audit.actor_id', true), session_user), now_row, old_row);
    RETURN NULL;
END $$;
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON wide FOR EACH ROW EXECUTE FUNCTION audit.record('id');
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON pgbench_branches FOR EACH ROW EXECUTE FUNCTION audit.record('bid');
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON pgbench_tellers FOR EACH ROW EXECUTE FUNCTION audit.record('tid');
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION audit.record('aid');
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON pgbench_history FOR EACH ROW EXECUTE FUNCTION audit.record('id');
