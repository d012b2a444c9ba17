-- What a table looks like, as far as its entries depend on that: schema s, name
-- n, both in SQL q, kind k, persistence p, replica identity i, whether both stamp
-- triggers are sound w, the guards that fire ALWAYS u, the partitioned tables
-- above it a (nearest first), columns c: number n, name c, type t (OID) and y (in
-- words).
--
-- With defaults, a column also says what rows have in it that are older than it:
-- v the value, in the text form of the log; d true when such rows were given
-- values that the catalog does not tell; g true when it is generated.
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
    SELECT jsonb_build_object('s', n.nspname, 'n', c.relname, 'q', format('%I.%I', n.nspname, c.relname), 'k', c.relkind, 'p', c.relpersistence, 'i', c.relreplident,
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
                                     'g', CASE WHEN defaults AND a.attgenerated <> '' THEN true END)) ORDER BY a.attnum)
                              FROM pg_attribute AS a
                              LEFT JOIN pg_type AS t ON t.oid = a.atttypid
                             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'))
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = relation
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.describe(oid, boolean) FROM PUBLIC;
