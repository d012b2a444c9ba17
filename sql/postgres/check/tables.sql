-- Every relation that could be audited, and what capture depends on in it. $1
-- is the publication, $2 the role of the sidecar. The schemas of the system and ours are left out.
SELECT c.oid                                                        AS oid,
       n.nspname::text                                              AS schema,
       c.relname::text                                              AS name,
       c.relkind::text                                              AS kind,        -- r table, p partitioned, f foreign
       c.relpersistence::text                                       AS persistence, -- p permanent, u unlogged, t temporary
       c.relispartition                                             AS partition,
       ARRAY(SELECT a.relid::oid FROM pg_partition_ancestors(c.oid) AS a(relid)
              WHERE a.relid <> c.oid)                               AS ancestors,   -- nearest first
       ARRAY(SELECT i.inhparent FROM pg_catalog.pg_inherits AS i
              WHERE i.inhrelid = c.oid AND NOT c.relispartition)    AS parents,     -- that it inherits from
       pg_has_role(c.relowner, 'USAGE')                             AS owned,
       c.relreplident::text                                         AS identity,    -- d default, f full, i index, n nothing
       coalesce((SELECT ic.relname::text
                   FROM pg_catalog.pg_index AS i
                   JOIN pg_catalog.pg_class AS ic ON ic.oid = i.indexrelid
                  WHERE i.indrelid = c.oid AND i.indisreplident), '') AS identity_index,
       EXISTS (SELECT FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = c.oid AND i.indisprimary)        AS has_key,
       EXISTS (SELECT FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = c.oid AND i.indisprimary
                  AND i.indimmediate AND i.indisvalid)              AS usable_key,  -- a deferrable key identifies no row in the log
       c.relrowsecurity                                             AS row_security,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attgenerated = 's' AND NOT a.attisdropped
              ORDER BY a.attnum)                                    AS stored_columns,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attgenerated = 'v' AND NOT a.attisdropped
              ORDER BY a.attnum)                                    AS virtual_columns,
       pr.oid IS NOT NULL                                           AS member,      -- named in the publication itself
       coalesce(to_jsonb(pr) ->> 'prqual' IS NOT NULL, false)       AS row_filter,  -- 15 and later
       coalesce(to_jsonb(pr) ->> 'prattrs' IS NOT NULL, false)      AS column_list, -- 15 and later
       pt.tablename IS NOT NULL                                     AS published,   -- itself or by way of a parent or schema
       coalesce(stamp.sound, false)                                 AS stamps,
       coalesce(truncation.sound, false)                            AS truncation_stamps,
       stamp.oid IS NOT NULL                                        AS has_stamp,
       truncation.oid IS NOT NULL                                   AS has_truncation_stamp,
       coalesce(has_table_privilege(sidecar.oid, c.oid, 'SELECT'), false) AS readable,  -- by the sidecar
       coalesce(has_schema_privilege(sidecar.oid, n.oid, 'USAGE'), false) AS reachable, -- likewise
       c.relrowsecurity AND NOT coalesce(sidecar.rolsuper OR sidecar.rolbypassrls
            OR NOT c.relforcerowsecurity AND pg_has_role(sidecar.oid, c.relowner, 'USAGE'), false) AS filtered -- a policy would hide rows from it
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_roles AS sidecar ON sidecar.rolname = $2
  LEFT JOIN pg_catalog.pg_publication AS p ON p.pubname = $1
  LEFT JOIN pg_catalog.pg_publication_rel AS pr ON pr.prrelid = c.oid AND pr.prpubid = p.oid
  LEFT JOIN pg_catalog.pg_publication_tables AS pt
         ON pt.pubname = $1 AND pt.schemaname = n.nspname AND pt.tablename = c.relname
  -- Sound: ours, unconditional, and fired ALWAYS ('A'). tgtype is 2 before + 4
  -- insert + 8 delete + 16 update, or 2 before + 32 truncate; for each statement.
  LEFT JOIN LATERAL (
       SELECT t.oid, t.tgenabled = 'A' AND t.tgtype = 30 AND t.tgqual IS NULL AND t.tgnargs = 0 AND t.tgattr = ''::int2vector
              AND t.tgfoid = to_regprocedure('pgwitness.stamp()') AS sound
         FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = c.oid AND t.tgname = 'pgwitness_stamp' AND NOT t.tgisinternal) AS stamp ON true
  LEFT JOIN LATERAL (
       SELECT t.oid, t.tgenabled = 'A' AND t.tgtype = 34 AND t.tgqual IS NULL AND t.tgnargs = 0
              AND t.tgfoid = to_regprocedure('pgwitness.stamp()') AS sound
         FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = c.oid AND t.tgname = 'pgwitness_stamp_truncate' AND NOT t.tgisinternal) AS truncation ON true
 WHERE c.relkind IN ('r', 'p', 'f')
   AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwitness')
   AND n.nspname !~ '^pg_(toast|temp)'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d   -- tables that belong to an extension are its business
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname
