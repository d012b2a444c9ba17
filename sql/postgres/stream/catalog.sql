-- What event triggers do not tell, and what may have been done while they were
-- silenced, as one JSON object: roles (never a password: pg_roles has none),
-- settings of roles and databases, the audited tables and our own objects in the
-- catalog. $1 is the publication, $2 the role of the sidecar, $3 the OIDs of the
-- tables that were there at the last look.
--
-- The version of a row of the catalog is its OID and the transaction that wrote
-- it, so that an edit shows that was taken back before anybody looked. What only
-- some versions of PostgreSQL have is taken out of the rows as JSON.
SELECT jsonb_build_object(
  'roles', (
    SELECT coalesce(jsonb_object_agg(r.rolname, jsonb_strip_nulls(jsonb_build_object(
             'oid', r.oid::bigint,
             'may', array_remove(ARRAY[CASE WHEN r.rolcanlogin    THEN 'login' END,       CASE WHEN r.rolsuper      THEN 'superuser' END,
                                       CASE WHEN r.rolcreaterole  THEN 'createrole' END,  CASE WHEN r.rolcreatedb   THEN 'createdb' END,
                                       CASE WHEN r.rolreplication THEN 'replication' END, CASE WHEN r.rolbypassrls  THEN 'bypassrls' END,
                                       CASE WHEN r.rolinherit     THEN 'inherit' END], NULL),
             'connections', nullif(r.rolconnlimit, -1),
             'valid_until', r.rolvaliduntil::text,
             'member_of', (SELECT jsonb_agg(DISTINCT concat(g.rolname, CASE WHEN m.admin_option THEN ' with admin option' END))
                             FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
                            WHERE m.member = r.oid)))), '{}')
      FROM pg_catalog.pg_roles AS r),
  'settings', (
    SELECT coalesce(jsonb_object_agg(concat_ws(' in ', 'role ' || r.rolname, 'database ' || d.datname), to_jsonb(s.setconfig)), '{}')
      FROM pg_catalog.pg_db_role_setting AS s
      LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
      LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
     WHERE s.setdatabase = 0 OR d.datname = current_database()),
  'tables', (                                   -- by OID: those that are published or bear a trigger of ours
    SELECT coalesce(jsonb_object_agg(c.oid, jsonb_build_object(
             'name', format('%I.%I', n.nspname, c.relname), 'identity', c.relreplident, 'persistence', c.relpersistence,
             'sound', coalesce(t.sound, false), 'version', coalesce(t.version, ''))), '{}')
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      LEFT JOIN LATERAL (
           SELECT 2 = count(*) FILTER (WHERE t.tgenabled = 'A' AND t.tgqual IS NULL AND t.tgnargs = 0 AND t.tgattr = ''::int2vector
                                         AND (t.tgname, t.tgtype) IN (('pgwitness_stamp', 30), ('pgwitness_stamp_truncate', 34))) AS sound,
                  string_agg(concat(t.oid, '.', t.xmin), ' ' ORDER BY t.oid) AS version
             FROM pg_catalog.pg_trigger AS t
            WHERE t.tgrelid = c.oid AND t.tgfoid = to_regprocedure('pgwitness.stamp()')) AS t ON true
     WHERE t.version IS NOT NULL
        OR EXISTS (SELECT FROM pg_catalog.pg_publication_tables AS p
                    WHERE p.pubname = $1 AND p.schemaname = n.nspname AND p.tablename = c.relname)),
  'objects', (
    SELECT coalesce(jsonb_object_agg(o.subject, jsonb_build_object('version', o.version, 'content', o.content, 'rights', o.rights)), '{}')
      FROM (SELECT 'function pgwitness.' || p.proname AS subject, concat(p.oid, '.', p.xmin) AS version,
                   md5(concat_ws('|', p.prosrc, p.prosecdef, p.provolatile, p.proconfig::text)) AS content, concat_ws(' ', p.proowner, p.proacl::text) AS rights
              FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
             WHERE n.nspname = 'pgwitness'
             UNION ALL
            SELECT 'event trigger ' || e.evtname, concat(e.oid, '.', e.xmin),
                   CASE WHEN e.evtenabled = 'A' AND e.evttags IS NULL AND e.evtfoid = to_regprocedure('pgwitness.ddl()') THEN 'sound' ELSE 'not sound' END, ''
              FROM pg_catalog.pg_event_trigger AS e
             WHERE e.evtname IN ('pgwitness_ddl', 'pgwitness_drop', 'pgwitness_rewrite')
             UNION ALL
            SELECT 'schema ' || n.nspname, concat(n.oid, '.', n.xmin), '', concat_ws(' ', n.nspowner, n.nspacl::text)
              FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'pgwitness') AS o),
  'readers', (                                  -- who has rights to the keys, and is neither their owner nor the sidecar
    SELECT coalesce(jsonb_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END), '[]')
      FROM pg_catalog.pg_class AS s
      JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace
     CROSS JOIN LATERAL aclexplode(s.relacl) AS a
     WHERE n.nspname = 'pgwitness' AND s.relname = 'secret' AND a.grantee <> s.relowner
       AND a.grantee IS DISTINCT FROM (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = $2)),
  'server', (
    SELECT jsonb_object_agg(s.name, concat(s.setting, CASE WHEN s.pending_restart THEN ' (another one after the next restart)' END))
      FROM pg_catalog.pg_settings AS s
     WHERE s.name IN ('wal_level', 'max_slot_wal_keep_size', 'idle_replication_slot_timeout', 'event_triggers', 'max_replication_slots', 'max_wal_senders')),
  'existing', (SELECT coalesce(jsonb_agg(c.oid::bigint), '[]') FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ($3::bigint[]::oid[]))
)::text AS state
