-- What the log says of a row before it was changed or deleted. The setting as
-- it was is recorded for teardown.
INSERT INTO pgwitness.installed (kind, name, relation, identity, identity_index)
SELECT 'replica_identity', {literal}, c.oid, c.relreplident,
       (SELECT x.relname FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
         WHERE i.indrelid = c.oid AND i.indisreplident)
  FROM pg_catalog.pg_class AS c
 WHERE c.oid = {literal}::regclass
    ON CONFLICT (kind, name) DO UPDATE
   SET relation = excluded.relation, identity = excluded.identity, identity_index = excluded.identity_index, changed_at = now()
 WHERE installed.relation <> excluded.relation;
ALTER TABLE ONLY {table} REPLICA IDENTITY {identity};
