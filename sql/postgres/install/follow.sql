-- Takes up those of the touched tables that the configuration means and that are
-- not followed yet, just as setup would: replica identity, stamp triggers,
-- publication, each recorded for teardown. Says of each what was done, or the
-- SQLSTATE of what was in the way; then that table is left as it was.
--
-- A table that is followed already is only published, when it got another name
-- or is a partition no more: a trigger that somebody disabled stays disabled, and
-- a table that he took out of the publication stays out, because what was done
-- against the auditor is to be seen, and not to be smoothed over. But where the
-- command took away what UPDATE and DELETE of a published table need, a key, or
-- added a virtual column, which FULL does not bear, another replica identity is
-- given; where there is none, it is published no more: the application goes before.
CREATE OR REPLACE FUNCTION pgwitness.follow(touched oid[]) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
DECLARE
    t      record;
    member record;
    reader name;
    code   "char";
    index  name;
    done   text[];
    report jsonb := '[]';
BEGIN
    FOR t IN
        SELECT c.oid, c.relkind, c.relreplident, format('%I.%I', n.nspname, c.relname) AS table_name,
               coalesce(own.identity, above.identity) AS wanted,
               CASE WHEN above.identity IS NULL  -- a partition is published with its parent
                     AND (a.relation IS NULL OR a.known ->> 's' <> n.nspname OR a.known ->> 'n' <> c.relname OR a.known -> 'a' <> '[]')
                    THEN own.publication END AS publication,
               a.relation IS NULL AS fresh,
               a.known ->> 'i' = c.relreplident AS unchanged,
               EXISTS (SELECT FROM pg_attribute AS v WHERE v.attrelid = c.oid AND v.attgenerated = 'v' AND NOT v.attisdropped) AS has_virtual,
               EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid) AS has_key,
               EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident) AS has_index
          FROM unnest(touched) AS u(oid)
          JOIN pg_class AS c ON c.oid = u.oid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
          LEFT JOIN pgwitness.audited AS a ON a.relation = c.oid
          LEFT JOIN LATERAL (
               SELECT p.identity, p.publication FROM pgwitness.pattern AS p
                WHERE NOT p.excludes AND n.nspname ~ p.schema_regex AND c.relname ~ p.name_regex
                  AND NOT EXISTS (SELECT FROM pgwitness.pattern AS x
                                   WHERE x.excludes AND n.nspname ~ x.schema_regex AND c.relname ~ x.name_regex)
                ORDER BY p.position LIMIT 1) AS own ON true
          LEFT JOIN LATERAL (
               SELECT p.identity
                 FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS up(relid, nearness)
                 JOIN pg_class AS uc ON uc.oid = up.relid
                 JOIN pg_namespace AS un ON un.oid = uc.relnamespace
                 JOIN pgwitness.pattern AS p ON NOT p.excludes AND un.nspname ~ p.schema_regex AND uc.relname ~ p.name_regex
                WHERE up.relid <> c.oid
                  AND NOT EXISTS (SELECT FROM pgwitness.pattern AS x
                                   WHERE x.excludes AND un.nspname ~ x.schema_regex AND uc.relname ~ x.name_regex)
                ORDER BY up.nearness, p.position LIMIT 1) AS above ON true
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwitness') AND n.nspname !~ '^pg_(toast|temp)'
           AND coalesce(own.identity, above.identity) IS NOT NULL
           AND NOT EXISTS (SELECT FROM pg_depend AS d   -- tables that belong to an extension are its business
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
         ORDER BY table_name
    LOOP
        done := '{}';
        BEGIN
            code := CASE WHEN t.wanted = 'f' AND NOT t.has_virtual THEN 'f' WHEN t.wanted = 'k' THEN t.relreplident ELSE 'd' END;
            IF t.publication IS NOT NULL AND (t.relkind = 'r' OR t.has_virtual) AND NOT (code = 'f' OR code = 'd' AND t.has_key OR code = 'i' AND t.has_index) THEN
                -- Published, the table would refuse the application's UPDATE.
                RAISE EXCEPTION USING ERRCODE = 'invalid_table_definition';
            END IF;
            IF t.fresh AND t.relkind = 'r' AND code <> t.relreplident THEN
                index := (SELECT x.relname FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                           WHERE i.indrelid = t.oid AND i.indisreplident);
                INSERT INTO pgwitness.installed (kind, name, relation, identity, identity_index)
                VALUES ('replica_identity', t.table_name, t.oid, t.relreplident, index)
                    ON CONFLICT (kind, name) DO UPDATE
                   SET relation = excluded.relation, identity = excluded.identity, identity_index = excluded.identity_index, changed_at = now()
                 WHERE installed.relation <> excluded.relation;
                EXECUTE format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', t.table_name, CASE code WHEN 'f' THEN 'FULL' ELSE 'DEFAULT' END);
                done := done || 'replica identity'::text;
            END IF;
            IF t.unchanged AND t.relkind = 'r'
               AND (t.relreplident = 'f' AND t.has_virtual OR t.relreplident = 'd' AND NOT t.has_key OR t.relreplident = 'i' AND NOT t.has_index) THEN
                IF t.wanted <> 'k' AND (t.has_key OR NOT t.has_virtual) THEN
                    EXECUTE format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', t.table_name, CASE WHEN t.has_virtual THEN 'DEFAULT' ELSE 'FULL' END);
                    done := done || 'replica identity'::text;
                ELSE
                    FOR member IN SELECT r.prrelid AS oid, p.pubname FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
                                   WHERE p.pubname IN (SELECT w.publication FROM pgwitness.pattern AS w)
                                     AND (r.prrelid = t.oid OR r.prrelid IN (SELECT up.relid FROM pg_partition_ancestors(t.oid) AS up)) LOOP
                        EXECUTE format('ALTER PUBLICATION %I DROP TABLE ONLY %s', member.pubname, member.oid::regclass);
                        DELETE FROM pgwitness.installed AS i WHERE i.kind = 'published' AND i.relation = member.oid;
                        DELETE FROM pgwitness.audited AS a WHERE a.relation = member.oid; -- it is taken up again when it can be
                        done := done || 'published no more'::text;
                    END LOOP;
                END IF;
            END IF;
            IF t.fresh AND NOT coalesce((pgwitness.describe(t.oid, false) ->> 'w')::boolean, false) THEN
                EXECUTE format('CREATE OR REPLACE TRIGGER pgwitness_stamp BEFORE INSERT OR UPDATE OR DELETE ON %s
                                FOR EACH STATEMENT EXECUTE FUNCTION pgwitness.stamp()', t.table_name);
                EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER pgwitness_stamp', t.table_name);
                EXECUTE format('CREATE OR REPLACE TRIGGER pgwitness_stamp_truncate BEFORE TRUNCATE ON %s
                                FOR EACH STATEMENT EXECUTE FUNCTION pgwitness.stamp()', t.table_name);
                EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER pgwitness_stamp_truncate', t.table_name);
                done := done || 'stamps'::text;
            END IF;
            IF t.publication IS NOT NULL AND NOT EXISTS (
                   SELECT FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
                    WHERE r.prrelid = t.oid AND p.pubname = t.publication) THEN
                INSERT INTO pgwitness.installed (kind, name, relation) VALUES ('published', t.table_name, t.oid)
                    ON CONFLICT (kind, name) DO UPDATE SET relation = excluded.relation, changed_at = now();
                EXECUTE format('ALTER PUBLICATION %I ADD TABLE ONLY %s', t.publication, t.table_name);
                done := done || 'published'::text;
            END IF;
            IF t.fresh AND t.relkind = 'r' AND EXISTS (SELECT FROM pgwitness.installed AS i WHERE i.kind = 'readable') THEN
                -- Where setup lets the sidecar read tables, it has to read this one as well, once
                -- a command writes its rows anew. Without the right it waits for setup.
                BEGIN
                    FOR reader IN SELECT r.rolname FROM pg_policy AS p JOIN pg_roles AS r ON r.oid = ANY (p.polroles)
                                   WHERE p.polrelid = to_regclass('pgwitness.secret') AND p.polname = 'sidecar'
                                     AND NOT has_table_privilege(r.oid, t.oid, 'SELECT') LOOP
                        INSERT INTO pgwitness.installed (kind, name, relation) VALUES ('readable', t.table_name, t.oid)
                            ON CONFLICT (kind, name) DO UPDATE SET relation = excluded.relation, changed_at = now();
                        EXECUTE format('GRANT SELECT ON TABLE %s TO %I', t.table_name, reader);
                    END LOOP;
                EXCEPTION WHEN insufficient_privilege THEN
                    NULL; -- status says that the table is blocked
                END;
            END IF;
            IF t.fresh THEN
                INSERT INTO pgwitness.audited (relation, known) VALUES (t.oid, pgwitness.describe(t.oid, false));
            END IF;
            IF done <> '{}' THEN
                report := report || jsonb_build_object('name', t.table_name, 'done', done);
            END IF;
        EXCEPTION WHEN others THEN
            report := report || jsonb_build_object('name', t.table_name, 'err', SQLSTATE);
        END;
    END LOOP;
    RETURN report;
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.follow(oid[]) FROM PUBLIC;
