-- An audit table in PostgreSQL as it is usually made: values as jsonb, an index
-- for each thing that is asked for. It is filled before it is indexed.
CREATE TABLE audit_trail (
    id            bigint PRIMARY KEY,
    timestamp     timestamptz NOT NULL,
    actor_id      text,
    actor_type    text,
    resource_type text NOT NULL,
    resource_id   text,
    action        text NOT NULL,
    old_values    jsonb,
    new_values    jsonb,
    source        text,
    ip_address    text,
    reason_code   text
);
