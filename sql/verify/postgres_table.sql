-- A table in any PostgreSQL (11 or newer) that takes a copy of the trail, so
-- that postgres_entry_hash.sql can check it away from ClickHouse. Columns are
-- those of audit_logs, in the order in which they are hashed; export_postgres.sql
-- writes what COPY reads into it.
CREATE TABLE audit_logs
(
    stream           bytea          NOT NULL, -- text is kept as bytes: PostgreSQL would refuse a zero byte or invalid UTF-8
    sequence         numeric(20, 0) NOT NULL, -- UInt64
    id               uuid           NOT NULL,
    "timestamp"      bigint         NOT NULL, -- µs since 1970
    actor_id         bytea,
    actor_email      bytea,
    actor_role       bytea,
    actor_type       bytea,
    resource_type    bytea,
    resource_id      bytea,
    action           bytea,
    old_values       bytea,
    new_values       bytea,
    changed          bytea[]        NOT NULL,
    source           bytea,
    ip_address       bytea,
    user_agent       bytea,
    geo_country      bytea,
    geo_city         bytea,
    geo_lat          bytea,
    geo_lon          bytea,
    reason_code      bytea,
    reason_note      bytea,
    attribution      bytea,
    request_id       bytea,
    trace_id         bytea,
    api_key_id       bytea,
    db_user          bytea,
    application_name bytea,
    schema_name      bytea,
    table_name       bytea,
    operation        bytea,
    xid              bigint         NOT NULL, -- UInt32
    commit_lsn       numeric(20, 0) NOT NULL, -- UInt64
    ordinal          bigint         NOT NULL, -- UInt32
    salt             bytea          NOT NULL,
    prev_hash        bytea          NOT NULL,
    entry_hash       bytea          NOT NULL
)
