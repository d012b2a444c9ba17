-- What a table looks like, as far as its entries depend on that: OID o, schema s,
-- name n, both in SQL q, kind k, persistence p, replica identity i, whether both
-- stamp triggers are sound w, the guards that fire ALWAYS u, the partitioned tables
-- above it a (nearest first), columns c: number n, name c, type t (OID) and y (in
-- words), g true when it is generated and in no log, e true when it is generated
-- and in the log; and of types that somebody made: l, by number of the column, how
-- its values are written (labels l of enums, attributes a of composite types), and
-- f, the OIDs of those types.
--
-- With defaults, a column also says what rows have in it that are older than it:
-- v the value, in the text form of the log; d true when such rows were given
-- values that the catalog does not tell.
CREATE OR REPLACE FUNCTION pgwitness.describe(relation oid, defaults boolean) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    SET DateStyle = iso, mdy
    SET IntervalStyle = postgres
    SET TimeZone = utc
    SET extra_float_digits = 3
    SET bytea_output = hex
    SET lc_monetary = 'C'
AS $pgwitness$
    SELECT jsonb_build_object('o', c.oid::bigint, 's', n.nspname, 'n', c.relname, 'q', format('%I.%I', n.nspname, c.relname), 'k', c.relkind, 'p', c.relpersistence, 'i', c.relreplident,
             -- As in check/tables.sql: ours, unconditional, fired ALWAYS, before each statement.
             'w', 2 = (SELECT count(*) FROM pg_trigger AS t
                        WHERE t.tgrelid = c.oid AND t.tgenabled = 'A' AND t.tgqual IS NULL AND t.tgnargs = 0 AND t.tgattr = ''::int2vector
                          AND t.tgfoid = to_regprocedure('pgwitness.stamp()')
                          AND (t.tgname, t.tgtype) IN (('pgwitness_stamp', 30), ('pgwitness_stamp_truncate', 34))),
             'u', ARRAY(SELECT t.tgname FROM pg_trigger AS t
                         WHERE t.tgrelid = c.oid AND t.tgenabled = 'A' AND NOT t.tgisinternal AND t.tgname LIKE 'pgwitness\_guard\_%' ORDER BY 1),
             'a', ARRAY(SELECT a.relid::oid::bigint FROM pg_partition_ancestors(c.oid) AS a(relid) WHERE a.relid <> c.oid),
             'c', coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                                     'n', a.attnum, 'c', a.attname, 't', a.atttypid::bigint, 'y', format_type(a.atttypid, a.atttypmod),
                                     'v', CASE WHEN defaults AND a.atthasmissing THEN (a.attmissingval::text::text[])[1] END,
                                     'd', CASE WHEN defaults AND (a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL) THEN true END,
                                     'g', CASE WHEN a.attgenerated <> '' AND NOT a.attgenerated = logged.kind THEN true END,
                                     'e', CASE WHEN a.attgenerated = logged.kind THEN true END)) ORDER BY a.attnum)
                              FROM pg_attribute AS a
                              LEFT JOIN pg_type AS t ON t.oid = a.atttypid
                             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'))
        || coalesce(made.types, '{}')
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     CROSS JOIN (SELECT CASE WHEN current_setting('server_version_num')::integer >= 180000 THEN 's' ELSE '-' END AS kind) AS logged -- stored ones are published since 18
      LEFT JOIN LATERAL (
           SELECT jsonb_build_object('l', jsonb_object_agg(m.attnum, m.look), 'f', jsonb_agg(m.parts)) AS types
             FROM (SELECT a.attnum, w.parts, jsonb_strip_nulls(jsonb_build_object('l', w.labels, 'a', w.attributes)) AS look
                     FROM pg_attribute AS a
                    CROSS JOIN LATERAL (
                          WITH RECURSIVE part(oid) AS (
                               SELECT a.atttypid
                                UNION
                               SELECT x.oid
                                 FROM part AS p
                                 JOIN pg_type AS t ON t.oid = p.oid
                                CROSS JOIN LATERAL (
                                      SELECT t.typelem WHERE t.typelem <> 0
                                       UNION ALL
                                      SELECT t.typbasetype WHERE t.typbasetype <> 0
                                       UNION ALL
                                      SELECT r.rngsubtype FROM pg_range AS r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
                                       UNION ALL
                                      SELECT b.atttypid FROM pg_attribute AS b
                                       WHERE t.typtype = 'c' AND b.attrelid = t.typrelid AND b.attnum > 0 AND NOT b.attisdropped) AS x(oid))
                          SELECT (SELECT jsonb_agg(o.oid::bigint) FROM (SELECT t.oid FROM part JOIN pg_type AS t USING (oid) WHERE t.typtype IN ('e', 'c')
                                   UNION SELECT t.typrelid FROM part JOIN pg_type AS t USING (oid) WHERE t.typtype = 'c') AS o(oid)) AS parts,
                                 (SELECT jsonb_object_agg(e.oid, e.enumlabel) FROM part JOIN pg_enum AS e ON e.enumtypid = part.oid) AS labels,
                                 (SELECT jsonb_object_agg(concat(b.attrelid, '.', b.attnum), format_type(b.atttypid, b.atttypmod))
                                    FROM part
                                    JOIN pg_type AS t ON t.oid = part.oid AND t.typtype = 'c'
                                    JOIN pg_attribute AS b ON b.attrelid = t.typrelid AND b.attnum > 0 AND NOT b.attisdropped) AS attributes) AS w
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384 -- FirstNormalObjectId
                      AND w.parts IS NOT NULL) AS m
           HAVING count(*) > 0) AS made ON true
     WHERE c.oid = relation
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.describe(oid, boolean) FROM PUBLIC;
