-- Publication $1 as one JSON object: what it lets through, and when that was
-- touched last. No row: there is no such publication. For PostgreSQL 14, whose
-- catalogs lack what publication.sql reads, and whose view locks no table.
--
-- The version of a row of the catalog is its OID and the transaction that wrote
-- it, so that an edit shows that was taken back before anybody looked. There
-- are no row filters and no lists of columns in 14.
SELECT jsonb_build_object(
         'version',    p.oid || '.' || p.xmin,
         'publish',    concat_ws(', ', CASE WHEN p.pubinsert   THEN 'insert'   END,
                                       CASE WHEN p.pubupdate   THEN 'update'   END,
                                       CASE WHEN p.pubdelete   THEN 'delete'   END,
                                       CASE WHEN p.pubtruncate THEN 'truncate' END),
         'all_tables', p.puballtables,
         'via_root',   p.pubviaroot,
         'tables',     coalesce(t.tables, '{}'))::text AS state
  FROM pg_catalog.pg_publication AS p
 CROSS JOIN LATERAL (
       SELECT jsonb_object_agg(
                concat(pt.schemaname, '.', pt.tablename),
                jsonb_strip_nulls(jsonb_build_object(
                  'oid',     c.oid::bigint,
                  'version', m.oid || '.' || m.version))) AS tables -- none: published with all tables
         FROM pg_catalog.pg_publication_tables AS pt
         JOIN pg_catalog.pg_namespace AS n ON n.nspname = pt.schemaname
         JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = pt.tablename
         LEFT JOIN LATERAL (              -- its own membership, or that of the partitioned table above it
              SELECT pr.oid, pr.xmin::text AS version
                FROM pg_catalog.pg_publication_rel AS pr
               WHERE pr.prpubid = p.oid
                 AND (pr.prrelid = c.oid OR pr.prrelid IN (SELECT a.relid FROM pg_partition_ancestors(c.oid) AS a(relid)))
               ORDER BY pr.prrelid = c.oid DESC, pr.oid
               LIMIT 1) AS m ON true
        WHERE pt.pubname = p.pubname) AS t
 WHERE p.pubname = $1
