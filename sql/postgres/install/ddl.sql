-- The function of all event triggers: writes a message 'D1' (docs/ddl.md) of
-- what a command created, altered, granted or dropped, and has new tables
-- followed, in the transaction of the command. As its owner, because only he
-- may read the key, and behind every such command of every client, so:
--
--   * It must not raise: everything is inside of a block with EXCEPTION.
--   * It must not hold the client up: it waits 300 ms for a lock at most, which
--     is less than a deadlock takes to be noticed.
--   * What it does itself fires it again; then it returns. It knows itself by a
--     word in a setting of the transaction, which nobody else can compute.
--
-- Before the rows of a table are written anew, the third event trigger notes
-- for which columns: the catalog does not tell it later (ALTER TYPE int USING n + 1).
--
-- Temporary objects are passed over. No event trigger tells of roles, databases,
-- tablespaces, subscriptions' passwords and event triggers themselves: those are
-- compared by the sidecar.
CREATE OR REPLACE FUNCTION pgwitness.ddl() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET debug_print_plan = off
    SET lock_timeout = '300ms'
AS $pgwitness$
DECLARE
    own      text;
    objects  jsonb;  -- what the command was about
    touched  oid[];  -- tables that may have changed
    altered  jsonb;  -- followed tables that have: before, after
    followed jsonb;
    gone     jsonb;  -- followed tables that are there no more
    readers  jsonb;  -- who has rights to the keys and should not
    query    text;
    most     CONSTANT integer := 100; -- objects in one message
BEGIN
    own := encode(sha256(pgwitness.inner_pad() || ('following ' || pg_current_xact_id()::text)::bytea), 'hex');
    IF own = current_setting('pgwitness.following', true) THEN
        RETURN;
    END IF;
    IF TG_EVENT = 'table_rewrite' THEN
        UPDATE pgwitness.audited AS a
           SET known = a.known || jsonb_build_object('x', coalesce(a.known -> 'x', '[]') || to_jsonb(ARRAY(
                 SELECT c.attnum::integer FROM pg_attribute AS c
                  WHERE c.attrelid = a.relation AND c.attnum > 0 AND age(c.xmin) <= 0   -- this transaction worked on it
                    AND (pg_event_trigger_table_rewrite_reason() & 4 <> 0 OR c.attgenerated = 's'))))
         WHERE a.relation = pg_event_trigger_table_rewrite_oid() AND pg_event_trigger_table_rewrite_reason() & 6 <> 0; -- 2 a default, 4 a type
        RETURN;
    ELSIF TG_EVENT = 'ddl_command_end' THEN
        SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                 'tag', c.command_tag, 'type', lower(c.object_type), 'schema', c.schema_name, 'name', c.object_identity,
                 'ext', CASE WHEN c.in_extension THEN coalesce((
                        SELECT e.extname::text FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
                         WHERE d.classid = c.classid AND d.objid = c.objid AND d.deptype = 'e'
                           AND d.refclassid = 'pg_extension'::regclass LIMIT 1), '') END)) ORDER BY c.ordinality),
               array_agg(CASE c.classid WHEN 'pg_class'::regclass THEN c.objid
                                        WHEN 'pg_trigger'::regclass THEN (SELECT t.tgrelid FROM pg_trigger AS t WHERE t.oid = c.objid)
                                        WHEN 'pg_type'::regclass THEN c.objid
                                        WHEN 'pg_namespace'::regclass THEN c.objid END)
          INTO objects, touched
          FROM pg_event_trigger_ddl_commands() WITH ORDINALITY AS c
         WHERE c.schema_name IS DISTINCT FROM 'pg_temp';
    ELSE
        SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                 'tag', TG_TAG, 'type', o.object_type, 'schema', o.schema_name, 'name', o.object_identity,
                 'dropped', true, 'audited', CASE WHEN a.relation IS NOT NULL THEN true END)) ORDER BY o.ordinality)
               FILTER (WHERE (o.normal OR o.original AND TG_TAG <> 'ALTER TABLE' OR a.relation IS NOT NULL) -- partitions go with their parent
                         AND NOT (o.object_type = 'rule' AND o.object_identity LIKE '"\_RETURN" on %')),
               array_agg(CASE WHEN o.object_type = 'table column' THEN o.objid
                              WHEN o.object_type = 'trigger' THEN to_regclass(format('%I.%I', o.address_names[1], o.address_names[2]))::oid END)
               FILTER (WHERE TG_TAG <> 'ALTER TABLE') -- the other event follows, and tells
          INTO objects, touched
          FROM pg_event_trigger_dropped_objects() WITH ORDINALITY AS o
          LEFT JOIN pgwitness.audited AS a ON o.classid = 'pg_class'::regclass AND o.objsubid = 0 AND a.relation = o.objid
         WHERE NOT o.is_temporary;
        WITH deleted AS (
               DELETE FROM pgwitness.audited AS a
                USING pg_event_trigger_dropped_objects() AS o
                WHERE o.classid = 'pg_class'::regclass AND o.objsubid = 0 AND a.relation = o.objid
            RETURNING a.relation)
        SELECT jsonb_agg(d.relation::bigint ORDER BY d.relation) INTO gone FROM deleted AS d;
    END IF;
    IF objects IS NULL AND touched IS NULL THEN
        RETURN;
    END IF;

    -- With a table come its partitions and heirs, with a schema its tables, and
    -- what was a partition of it before; with a type the tables that have values of it.
    WITH RECURSIVE family(oid) AS (
           SELECT u.oid FROM unnest(touched) AS u(oid) WHERE u.oid IS NOT NULL
            UNION
           SELECT c.oid FROM pg_class AS c WHERE TG_TAG = 'ALTER SCHEMA' AND c.relnamespace = ANY (touched) AND c.relkind IN ('r', 'p')
            UNION
           SELECT a.relation FROM pgwitness.audited AS a, unnest(touched) AS u(oid)
            WHERE TG_TAG = 'ALTER TABLE' AND a.known -> 'a' @> to_jsonb(u.oid::bigint)
         ), descendants(oid) AS (
           SELECT f.oid FROM family AS f
            UNION
           SELECT i.inhrelid FROM pg_inherits AS i JOIN descendants AS d ON i.inhparent = d.oid
         ), dependants(oid) AS (
           SELECT d.oid FROM descendants AS d
            UNION
           SELECT a.relation FROM pgwitness.audited AS a JOIN descendants AS d ON a.known -> 'f' @> jsonb_build_array(jsonb_build_array(d.oid::bigint))
            WHERE TG_TAG IN ('ALTER TABLE', 'ALTER TYPE'))
    SELECT array_agg(d.oid) INTO touched FROM dependants AS d;

    PERFORM set_config('pgwitness.following', own, true);
    followed := pgwitness.follow(touched);
    PERFORM set_config('pgwitness.following', '', true);

    -- The transaction that made values unknown last is kept (z): it tells the sidecar
    -- that the table wants a new baseline.
    WITH seen AS (
           SELECT a.relation, a.known AS before, pgwitness.describe(a.relation, false) AS now
             FROM pgwitness.audited AS a WHERE a.relation = ANY (touched)
         ), changed AS (
           SELECT s.relation, s.before, s.now, d.after, pgwitness.lost(s.before, d.after) AS lost
             FROM seen AS s CROSS JOIN LATERAL (SELECT pgwitness.describe(s.relation, true) AS after) AS d
            WHERE s.now IS NOT NULL AND s.now <> s.before - 'z'
         ), kept AS (
           UPDATE pgwitness.audited AS a
              SET known = c.now || jsonb_strip_nulls(jsonb_build_object('z', CASE WHEN c.lost IS NULL THEN c.before ->> 'z' ELSE pg_current_xact_id()::text END))
             FROM changed AS c WHERE a.relation = c.relation)
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('before', c.before - '{l,f,x,z}'::text[], 'after', c.after - '{l,f}'::text[], 'lost', c.lost)) ORDER BY c.relation)
      INTO altered FROM changed AS c;

    IF TG_TAG IN ('GRANT', 'REVOKE') THEN
        SELECT jsonb_agg(DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee)::text END)
          INTO readers
          FROM pg_class AS s, aclexplode(s.relacl) AS x
         WHERE s.oid = to_regclass('pgwitness.secret') AND x.grantee <> s.relowner
           AND NOT EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = s.oid AND x.grantee = ANY (p.polroles));
    END IF;

    query := current_query();
    FOR i IN 0 .. greatest(0, (coalesce(jsonb_array_length(objects), 0) - 1) / most) LOOP
        PERFORM pg_logical_emit_message(true, 'pgwitness', pgwitness.message('D1', pg_trigger_depth(), NULL, concat(
            ',"ddl":', jsonb_strip_nulls(jsonb_build_object('tag', TG_TAG,
                'objects', (SELECT jsonb_agg(o.value ORDER BY o.ordinality) FROM jsonb_array_elements(objects) WITH ORDINALITY AS o
                             WHERE o.ordinality > i * most AND o.ordinality <= (i + 1) * most),
                'altered', CASE WHEN i = 0 THEN altered END,
                'gone', CASE WHEN i = 0 THEN gone END,
                'followed', CASE WHEN i = 0 AND followed <> '[]' THEN followed END,
                'readers', CASE WHEN i = 0 THEN readers END,
                'statement', left(query, 8192),
                'length', CASE WHEN length(query) > 8192 THEN length(query) END)),
            ',"at":', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)));
    END LOOP;
    -- Decoding sorts the changes of subtransactions, of which this block is one, into
    -- those of the transaction by their place in the log: a message by its end, a row
    -- by its beginning. So that the next row comes behind the message, something must
    -- lie between the two. Messages of other prefixes are passed over.
    PERFORM pg_logical_emit_message(true, 'pgwitness.end', '');
EXCEPTION WHEN others THEN
    BEGIN
        PERFORM pg_logical_emit_message(true, 'pgwitness', pgwitness.message('D1', pg_trigger_depth(), NULL, concat(
            ',"ddl":', jsonb_build_object('tag', TG_TAG, 'err', SQLSTATE, 'statement', left(current_query(), 8192)))));
    EXCEPTION WHEN others THEN
        RETURN; -- neither the keys nor the functions may be there any more: the sidecar compares
    END;
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.ddl() FROM PUBLIC;
