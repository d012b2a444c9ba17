-- The triggers of guards that are there; those on partitions are part of the
-- one on the partitioned table.
SELECT '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"' AS table_name,
       t.tgname::text                                                              AS trigger,
       pg_get_triggerdef(t.oid)                                                    AS definition,
       t.tgenabled = 'A' AND (c.relkind <> 'p' OR t.tgtype & 1 = 0 OR NOT EXISTS ( -- fires ALWAYS, on every partition
           SELECT FROM pg_partition_tree(c.oid) AS p
            WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS k
                               WHERE k.tgrelid = p.relid AND k.tgname = t.tgname AND k.tgfoid = t.tgfoid AND k.tgenabled = 'A'))) AS always
  FROM pg_catalog.pg_trigger   AS t
  JOIN pg_catalog.pg_class     AS c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE t.tgfoid = to_regprocedure('pgwitness.guard()') AND t.tgparentid = 0
 ORDER BY table_name, trigger
