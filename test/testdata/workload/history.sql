-- Writes down, in the log itself and at the very place, which table has which name
-- from here on. A fold can then follow a table through DROP, CREATE and RENAME. For
-- tests: whole catalogs are compared after every command, by nothing that
-- pgwitness has.
CREATE SCHEMA workload;
CREATE TABLE workload.history (
    step     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what     text   NOT NULL, -- begins, ends
    relation oid    NOT NULL,
    schema   text   NOT NULL,
    name     text   NOT NULL,
    tag      text   NOT NULL  -- of the command
);
CREATE TABLE workload.known (
    relation oid  PRIMARY KEY,
    schema   text NOT NULL,
    name     text NOT NULL
);

-- The tables whose rows are in the log.
CREATE VIEW workload.present AS
SELECT c.oid AS relation, n.nspname::text AS schema, c.relname::text AS name
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwitness', 'workload') AND n.nspname !~ '^pg_(toast|temp)';

CREATE FUNCTION workload.write_history() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_TAG !~ 'TABLE|INTO|TYPE|DOMAIN|SCHEMA|OWNED|EXTENSION' THEN
        RETURN;
    END IF;
    INSERT INTO workload.history (what, relation, schema, name, tag)
    SELECT 'ends', k.relation, k.schema, k.name, TG_TAG
      FROM workload.known AS k LEFT JOIN workload.present AS p USING (relation)
     WHERE p.relation IS NULL OR (p.schema, p.name) <> (k.schema, k.name);
    INSERT INTO workload.history (what, relation, schema, name, tag)
    SELECT 'begins', p.relation, p.schema, p.name, TG_TAG
      FROM workload.present AS p LEFT JOIN workload.known AS k USING (relation)
     WHERE k.relation IS NULL OR (p.schema, p.name) <> (k.schema, k.name);
    DELETE FROM workload.known AS k WHERE NOT EXISTS (SELECT FROM workload.present AS p WHERE p.relation = k.relation);
    UPDATE workload.known AS k SET schema = p.schema, name = p.name FROM workload.present AS p
     WHERE p.relation = k.relation AND (p.schema, p.name) <> (k.schema, k.name);
    INSERT INTO workload.known SELECT p.* FROM workload.present AS p WHERE NOT EXISTS (SELECT FROM workload.known AS k WHERE k.relation = p.relation);
END
$$;
CREATE EVENT TRIGGER workload_2_history ON ddl_command_end EXECUTE FUNCTION workload.write_history();
ALTER EVENT TRIGGER workload_2_history ENABLE ALWAYS;
CREATE EVENT TRIGGER workload_3_drops ON sql_drop EXECUTE FUNCTION workload.write_history();
ALTER EVENT TRIGGER workload_3_drops ENABLE ALWAYS;
