-- Whether the event triggers tell what DDL does to rows (watched), and whether
-- this role may read what they noted (readable). Without them only the shape of
-- a table tells.
SELECT 3 = (SELECT count(*) FROM pg_catalog.pg_event_trigger AS e
             WHERE e.evtname IN ('pgwitness_ddl', 'pgwitness_drop', 'pgwitness_rewrite') AND e.evtenabled = 'A')  AS watched,
       coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass('pgwitness.audited'), 'SELECT'), false)      AS readable
