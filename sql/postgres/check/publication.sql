-- The publication $1. No row: there is none. What only some versions have is
-- taken out of the row as JSON, so that one statement does for 14 and later.
SELECT p.puballtables                                                     AS all_tables,
       p.pubviaroot                                                       AS via_root,
       p.pubinsert                                                        AS inserts,
       p.pubupdate                                                        AS updates,
       p.pubdelete                                                        AS deletes,
       p.pubtruncate                                                      AS truncates,
       coalesce(to_jsonb(p) ->> 'pubgencols', '')                         AS generated,   -- 18 and later: n none, s stored
       pg_has_role(p.pubowner, 'USAGE')                                   AS owned
  FROM pg_catalog.pg_publication AS p
 WHERE p.pubname = $1
