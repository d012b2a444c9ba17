-- Publication $1 as one JSON object: what it lets through, and when that was
-- touched last. No row: there is no such publication. For PostgreSQL 15 and
-- later; publication_14.sql is its like for 14.
--
-- The version of a row of the catalog is its OID and the transaction that wrote
-- it, so that an edit shows that was taken back before anybody looked.
--
-- It reads catalogs and locks no table, unlike the view pg_publication_tables,
-- which waits behind an ALTER TABLE for as long as that takes, and fails when a
-- table is dropped meanwhile. Only the row filter of a table that has one is
-- rendered with a lock.
WITH RECURSIVE publication AS (
       SELECT p.*, p.xmin::text AS version FROM pg_catalog.pg_publication AS p WHERE p.pubname = $1
     ), publishable AS (
       SELECT c.oid, c.relkind, c.relnamespace, c.relispartition -- not of the system
         FROM pg_catalog.pg_class AS c
        WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384
     ), member AS (                        -- by itself, with its schema, or with all tables
       SELECT r.prrelid AS relid, r.oid AS membership FROM publication AS p JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid
        UNION ALL
       SELECT c.oid, NULL
         FROM publication AS p
         JOIN pg_catalog.pg_publication_namespace AS n ON n.pnpubid = p.oid
         JOIN publishable AS c ON c.relnamespace = n.pnnspid
        UNION ALL
       SELECT c.oid, NULL FROM publication AS p JOIN publishable AS c ON p.puballtables
     ), tree AS (                          -- members, and the partitions below them
       SELECT m.relid, m.membership, 0 AS depth FROM member AS m
        UNION ALL
       SELECT c.oid, t.membership, t.depth + 1
         FROM tree AS t
         JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.relid
         JOIN publishable AS c ON c.oid = i.inhrelid AND c.relispartition
     ), published AS (                     -- those that the log names, each with its own membership or the nearest above it
       SELECT DISTINCT ON (t.relid) t.relid, t.membership
         FROM tree AS t JOIN publishable AS c ON c.oid = t.relid CROSS JOIN publication AS p
        WHERE CASE WHEN p.pubviaroot
                   THEN NOT EXISTS (SELECT FROM tree AS o WHERE o.relid = t.relid AND o.depth > 0)
                   ELSE c.relkind = 'r' END
        ORDER BY t.relid, t.membership IS NULL, t.depth, t.membership
     )
SELECT jsonb_build_object(
         'version',    p.oid || '.' || p.version,
         'publish',    concat_ws(', ', CASE WHEN p.pubinsert   THEN 'insert'   END,
                                       CASE WHEN p.pubupdate   THEN 'update'   END,
                                       CASE WHEN p.pubdelete   THEN 'delete'   END,
                                       CASE WHEN p.pubtruncate THEN 'truncate' END),
         'all_tables', p.puballtables,
         'via_root',   p.pubviaroot,
         'tables',     coalesce((
            SELECT jsonb_object_agg(concat(n.nspname, '.', c.relname), jsonb_strip_nulls(jsonb_build_object(
                     'oid',     c.oid::bigint,
                     'version', r.oid || '.' || r.xmin::text,  -- none: published with its schema, or with all tables
                     'filter',  CASE WHEN r.prqual IS NOT NULL THEN pg_catalog.pg_get_expr(r.prqual, r.prrelid) END,
                     'columns', CASE WHEN r.prattrs IS NOT NULL THEN (
                                     SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
                                      WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) END)))
              FROM published AS x
              JOIN pg_catalog.pg_class AS c ON c.oid = x.relid
              JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
              LEFT JOIN pg_catalog.pg_publication_rel AS r ON r.oid = x.membership), '{}'))::text AS state
  FROM publication AS p
