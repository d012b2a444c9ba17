-- Publishes every new table from its first row on, with its old rows: what an
-- operator has to arrange for tables that come and go.
CREATE FUNCTION workload.follow() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = error
AS $$
DECLARE
    t record;
BEGIN
    IF current_setting('workload.following', true) = 'yes' THEN
        RETURN;
    END IF;
    PERFORM set_config('workload.following', 'yes', true);
    FOR t IN SELECT n.nspname FROM pg_namespace AS n
              WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwitness', 'workload') AND n.nspname !~ '^pg_'
                AND NOT EXISTS (SELECT FROM pg_publication_namespace AS p JOIN pg_publication AS u ON u.oid = p.pnpubid
                                 WHERE p.pnnspid = n.oid AND u.pubname = '$PUBLICATION') LOOP
        EXECUTE format('ALTER PUBLICATION $PUBLICATION ADD TABLES IN SCHEMA %I', t.nspname);
    END LOOP;
    FOR t IN SELECT p.relation, p.schema, p.name FROM workload.present AS p JOIN pg_class AS c ON c.oid = p.relation
              WHERE c.relreplident <> 'f'
                AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated = 'v') -- they would refuse UPDATE
                AND NOT EXISTS (SELECT FROM workload.known AS k WHERE k.relation = p.relation) LOOP
        EXECUTE format('ALTER TABLE ONLY %I.%I REPLICA IDENTITY FULL', t.schema, t.name);
        EXECUTE format('CREATE OR REPLACE TRIGGER pgwitness_stamp BEFORE INSERT OR UPDATE OR DELETE ON %I.%I FOR EACH STATEMENT EXECUTE FUNCTION pgwitness.stamp()', t.schema, t.name);
        EXECUTE format('CREATE OR REPLACE TRIGGER pgwitness_stamp_truncate BEFORE TRUNCATE ON %I.%I FOR EACH STATEMENT EXECUTE FUNCTION pgwitness.stamp()', t.schema, t.name);
        EXECUTE format('ALTER TABLE ONLY %I.%I ENABLE ALWAYS TRIGGER pgwitness_stamp, ENABLE ALWAYS TRIGGER pgwitness_stamp_truncate', t.schema, t.name);
    END LOOP;
    PERFORM set_config('workload.following', '', true);
END
$$;
-- Event triggers fire in the order of their names: followed first, then known.
CREATE EVENT TRIGGER workload_1_follow ON ddl_command_end EXECUTE FUNCTION workload.follow();
ALTER EVENT TRIGGER workload_1_follow ENABLE ALWAYS;
