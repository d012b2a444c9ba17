-- What setup has changed, so that teardown can take out exactly that and put
-- back what was there before.
CREATE TABLE IF NOT EXISTS pgwitness.installed (
    kind           text        NOT NULL, -- schema, publication, slot, published (a table of a publication that was there before), replica_identity, readable (a table, by the sidecar), reachable (its schema)
    name           text        NOT NULL, -- of the schema, publication, slot or table, at that time
    relation       regclass,             -- the table; NULL for the others. Follows a rename
    identity       "char",               -- replica_identity: pg_class.relreplident as it was
    identity_index name,                 -- replica_identity: the index of identity 'i'
    changed_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);
REVOKE ALL ON pgwitness.installed FROM PUBLIC;
