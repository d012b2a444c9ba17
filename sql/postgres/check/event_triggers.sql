-- Our event triggers. Sound: ours, for every command, fired ALWAYS ('A').
SELECT e.evtname::text                                                AS name,
       e.evtenabled = 'A' AND e.evttags IS NULL
       AND e.evtfoid = to_regprocedure('pgwitness.ddl()')
       AND (e.evtname, e.evtevent) IN (('pgwitness_ddl', 'ddl_command_end'), ('pgwitness_drop', 'sql_drop'), ('pgwitness_rewrite', 'table_rewrite')) AS sound
  FROM pg_catalog.pg_event_trigger AS e
 WHERE e.evtname IN ('pgwitness_ddl', 'pgwitness_drop', 'pgwitness_rewrite')
 ORDER BY name
