-- Table $1 (an OID) as it is in this snapshot, one row per column in order, and
-- with each row what the snapshot is. $2 is the column list of the publication, a
-- JSON array or NULL, $3 whether it publishes stored generated columns; from
-- PostgreSQL 18 on one that is named there is in the log, too.
SELECT n.nspname                                             AS schema,
       c.relname                                             AS name,
       c.relreplident                                        AS identity,
       CASE WHEN c.relispartition THEN rn.nspname END        AS root_schema,
       CASE WHEN c.relispartition THEN r.relname END         AS root_name,
       a.attname                                             AS column_name,
       a.atttypid                                            AS column_type,
       a.atttypmod                                           AS column_modifier,
       coalesce(pk.place, 0)                                 AS key_place,
       pg_catalog.pg_current_snapshot()                      AS snapshot,
       pg_catalog.pg_current_wal_insert_lsn()                AS position
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_class AS r ON r.oid = pg_catalog.pg_partition_root(c.oid)
  LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
  LEFT JOIN LATERAL (
       SELECT u.place
         FROM pg_catalog.pg_index AS i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS u (attnum, place)
        WHERE i.indrelid = c.oid AND i.indisprimary AND u.attnum = a.attnum AND u.place <= i.indnkeyatts) AS pk ON true
 WHERE c.oid = $1
   AND ($2::jsonb IS NULL OR $2::jsonb ? a.attname)
   AND (a.attgenerated = '' OR a.attgenerated = 's' AND ($3 OR $2::jsonb IS NOT NULL AND pg_catalog.current_setting('server_version_num')::int >= 180000))
 ORDER BY a.attnum
