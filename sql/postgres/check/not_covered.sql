-- What a database holds that the write-ahead log does not tell as changes of
-- rows. Views, materialized ones included, hold nothing of their own.
SELECT (SELECT count(*)::int FROM pg_catalog.pg_largeobject_metadata) AS large_objects,
       (SELECT count(*)::int FROM pg_catalog.pg_class AS c
          JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind = 'S' AND c.relpersistence <> 't')           AS sequences,
       (SELECT count(*)::int FROM pg_catalog.pg_class AS c
          JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema')) AS views
