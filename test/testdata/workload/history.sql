-- Writes down, in the log itself and at the very place, what becomes of tables:
-- which table has which name from here on. A fold can then follow a table
-- through DROP, CREATE, RENAME and ALTER. For tests: whole catalogs are
-- compared after every command, by nothing that pgwitness has.
CREATE SCHEMA workload;
CREATE TABLE workload.history (
    step     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what     text   NOT NULL, -- begins, ends, altered: without a row in the log; again: all its rows follow anew
    relation oid    NOT NULL,
    schema   text   NOT NULL,
    name     text   NOT NULL,
    tag      text   NOT NULL  -- of the command
);
CREATE TABLE workload.known (
    relation oid  PRIMARY KEY,
    schema   text NOT NULL,
    name     text NOT NULL,
    shape    text NOT NULL    -- changes with everything that may give rows other values
);

-- The tables whose rows are in the log.
CREATE VIEW workload.present AS
SELECT c.oid AS relation, n.nspname::text AS schema, c.relname::text AS name,
       concat(c.relfilenode, c.relreplident, md5((
         SELECT string_agg(concat_ws(',', a.attname, a.atttypid, a.atttypmod, a.attmissingval, a.attisdropped), ';' ORDER BY a.attnum)
           FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0))) AS shape
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwitness', 'workload') AND n.nspname !~ '^pg_(toast|temp)';

CREATE FUNCTION workload.write_history() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_TAG !~ 'TABLE|INTO|TYPE|DOMAIN|SCHEMA|OWNED|EXTENSION' OR current_setting('workload.following', true) = 'yes' THEN
        RETURN;
    END IF;
    IF TG_TAG = 'ALTER TYPE' AND TG_EVENT = 'ddl_command_end' THEN -- labels of an enum, attributes of a composite
        INSERT INTO workload.history (what, relation, schema, name, tag)
        SELECT DISTINCT 'altered', k.relation, k.schema, k.name, TG_TAG
          FROM pg_event_trigger_ddl_commands() AS d
          JOIN pg_type AS t ON t.oid = d.objid OR t.typelem = d.objid OR t.typrelid = d.objid
          JOIN pg_attribute AS a ON a.atttypid = t.oid AND a.attnum > 0
          JOIN workload.known AS k ON k.relation = a.attrelid;
    END IF;
    INSERT INTO workload.history (what, relation, schema, name, tag)
    SELECT 'ends', k.relation, k.schema, k.name, TG_TAG
      FROM workload.known AS k LEFT JOIN workload.present AS p USING (relation)
     WHERE p.relation IS NULL OR (p.schema, p.name) <> (k.schema, k.name);
    INSERT INTO workload.history (what, relation, schema, name, tag)
    SELECT 'begins', p.relation, p.schema, p.name, TG_TAG
      FROM workload.present AS p LEFT JOIN workload.known AS k USING (relation)
     WHERE k.relation IS NULL OR (p.schema, p.name) <> (k.schema, k.name);
    IF TG_TAG ~ 'ALTER|DROP|OWNED' THEN -- what only creates gives no table another shape
        INSERT INTO workload.history (what, relation, schema, name, tag)
        SELECT 'altered', p.relation, p.schema, p.name, TG_TAG
          FROM workload.present AS p JOIN workload.known AS k USING (relation)
         WHERE p.shape <> k.shape;
        UPDATE workload.known AS k SET shape = p.shape FROM workload.present AS p WHERE p.relation = k.relation AND p.shape <> k.shape;
    END IF;
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
