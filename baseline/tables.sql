-- The tables of publication $1 that hold rows of their own to publish, in the
-- order in which they are read: small ones first.
--
--   version   of the membership: it changes when a table is taken out of the
--             publication and put back, with what was hidden meanwhile
--   shape     what is different when values may be: columns and their types
--   columns   those that a column list of the publication (15) names, as JSON; NULL:
--             all, those included that are added later
--   generated stored generated columns are published (18)
--   key       JSON, one object per column of the key in its order: name, type,
--             collation if it is not the column's own, and the operators by which
--             the index orders. The index is that of the replica identity, or
--             of the primary key; NULL when there is neither.
SELECT c.oid::bigint                                                  AS id,
       n.nspname                                                      AS schema,
       c.relname                                                      AS name,
       c.relkind = 'p'                                                AS partitioned,
       c.relreplident                                                 AS identity,
       greatest(c.reltuples, 0)::bigint                               AS estimate,
       p.oid || '.' || coalesce(m.version, '')                        AS version,
       (SELECT md5(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated), ',' ORDER BY a.attnum))
          FROM pg_catalog.pg_attribute AS a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS shape,
       to_jsonb(pt) ->> 'rowfilter'                                   AS filter,
       CASE WHEN m.listed THEN to_jsonb(pt) ->> 'attnames' END        AS columns,
       coalesce(to_jsonb(p) ->> 'pubgencols' = 's', false)            AS generated,
       k.key::text                                                    AS key
  FROM pg_catalog.pg_publication AS p
  JOIN pg_catalog.pg_publication_tables AS pt ON pt.pubname = p.pubname
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = pt.schemaname
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = pt.tablename
  LEFT JOIN LATERAL (              -- its own membership, or that of the partitioned table above it
       SELECT pr.oid || '.' || pr.xmin AS version, to_jsonb(pr) ->> 'prattrs' IS NOT NULL AS listed
         FROM pg_catalog.pg_publication_rel AS pr
        WHERE pr.prpubid = p.oid
          AND (pr.prrelid = c.oid OR pr.prrelid IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(c.oid) AS a(relid)))
        ORDER BY pr.prrelid = c.oid DESC, pr.oid
        LIMIT 1) AS m ON true
  LEFT JOIN LATERAL (
       SELECT i.*
         FROM pg_catalog.pg_index AS i
         JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid AND x.relam = 403   -- btree: a key WITHOUT OVERLAPS (18) has no order
        WHERE i.indrelid = c.oid AND i.indisvalid
          AND (i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)
        ORDER BY c.relreplident = 'i' AND i.indisreplident DESC
        LIMIT 1) AS i ON true
  LEFT JOIN LATERAL (
       SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                'name',      a.attname,
                'type',      pg_catalog.format_type(a.atttypid, -1),
                'collation', CASE WHEN co.oid <> a.attcollation THEN pg_catalog.format('%I.%I', cn.nspname, co.collname) END,
                'less',      pg_catalog.format('OPERATOR(%I.%s)', ln.nspname, lo.oprname),
                'greater',   pg_catalog.format('OPERATOR(%I.%s)', gn.nspname, go.oprname))) ORDER BY u.place) AS key
         FROM unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) WITH ORDINALITY AS u (attnum, opclass, coll, place)
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = u.attnum
         JOIN pg_catalog.pg_opclass AS oc ON oc.oid = u.opclass
         JOIN pg_catalog.pg_amop AS l ON l.amopfamily = oc.opcfamily AND l.amoplefttype = oc.opcintype AND l.amoprighttype = oc.opcintype AND l.amopstrategy = 1
         JOIN pg_catalog.pg_operator AS lo ON lo.oid = l.amopopr
         JOIN pg_catalog.pg_namespace AS ln ON ln.oid = lo.oprnamespace
         JOIN pg_catalog.pg_amop AS g ON g.amopfamily = oc.opcfamily AND g.amoplefttype = oc.opcintype AND g.amoprighttype = oc.opcintype AND g.amopstrategy = 5
         JOIN pg_catalog.pg_operator AS go ON go.oid = g.amopopr
         JOIN pg_catalog.pg_namespace AS gn ON gn.oid = go.oprnamespace
         LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = u.coll
         LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
        WHERE u.place <= i.indnkeyatts) AS k ON true
 WHERE p.pubname = $1
   AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v')
 ORDER BY c.reltuples, n.nspname, c.relname
