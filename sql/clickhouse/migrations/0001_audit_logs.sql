-- The trail: one row per audited change, sealed into one hash chain per stream.
-- Rows are only ever inserted. Nobody whom pgwitness creates may alter, delete,
-- truncate or drop here (see ../users.sql).
--
-- NULL and '' are different facts and hash differently, hence the Nullable
-- columns. LowCardinality is for columns of few distinct values: it saves disk
-- and makes GROUP BY fast. JSON is text: the bytes that are queried are the
-- bytes that are hashed.

-- +goose Up
CREATE TABLE IF NOT EXISTS audit_logs
(
    id               UUID                             COMMENT 'UUIDv7 of the entry: commit time, then bits of SHA-256 over (stream, commit_lsn, ordinal); a replay makes the same id' CODEC(ZSTD(1)),
    stream           LowCardinality(String)           COMMENT 'the audited database: one replication slot, one chain',
    sequence         UInt64                           COMMENT 'number of the entry in its stream: 0, 1, 2, … without a hole' CODEC(Delta(8), ZSTD(1)),
    timestamp        DateTime64(6, 'UTC')             COMMENT 'when the transaction committed' CODEC(Delta(8), ZSTD(1)),

    actor_id         LowCardinality(Nullable(String)) COMMENT 'who did it: a person, an api:…, a system:…, a cron:…, or db:<session user>',
    actor_email      LowCardinality(Nullable(String)) COMMENT 'e-mail of the actor, or its token',
    actor_role       LowCardinality(Nullable(String)) COMMENT 'role of the actor at that moment',
    actor_type       LowCardinality(Nullable(String)) COMMENT 'human | api | system | cron | unknown',

    resource_type    LowCardinality(Nullable(String)) COMMENT 'what was changed: configured name of the table, else the table itself',
    resource_id      Nullable(String)                 COMMENT 'key of the row, components joined by /' CODEC(ZSTD(1)),
    action           LowCardinality(Nullable(String)) COMMENT 'create, update, delete, approve, refund, …: a closed vocabulary',
    old_values       Nullable(String)                 COMMENT 'JSON before: changed columns and key of an update, whole row of a delete' CODEC(ZSTD(1)),
    new_values       Nullable(String)                 COMMENT 'JSON after: changed columns and key of an update, whole row of an insert' CODEC(ZSTD(1)),
    changed          Array(LowCardinality(String))    COMMENT 'names of the changed columns, sorted',

    source           LowCardinality(Nullable(String)) COMMENT 'what it came through: admin panel, storefront, job, …',
    ip_address       LowCardinality(Nullable(String)) COMMENT 'client address, or its token; attribution says whether observed or asserted',
    user_agent       LowCardinality(Nullable(String)) COMMENT 'client program as it called itself',
    geo_country      LowCardinality(Nullable(String)) COMMENT 'ISO code of the country of ip_address when the change was captured',
    geo_city         LowCardinality(Nullable(String)) COMMENT 'city of ip_address',
    geo_lat          LowCardinality(Nullable(String)) COMMENT 'latitude as the decimal text that is hashed',
    geo_lon          LowCardinality(Nullable(String)) COMMENT 'longitude as the decimal text that is hashed',

    reason_code      LowCardinality(Nullable(String)) COMMENT 'why, out of a list',
    reason_note      Nullable(String)                 COMMENT 'why, in the words of the actor' CODEC(ZSTD(1)),

    attribution      LowCardinality(Nullable(String)) COMMENT 'JSON: field → where its value was taken from (session, comment, row, rule, observed, none)',
    request_id       Nullable(String)                 COMMENT 'id of the request that caused it' CODEC(ZSTD(1)),
    trace_id         Nullable(String)                 COMMENT 'id of the distributed trace' CODEC(ZSTD(1)),
    api_key_id       LowCardinality(Nullable(String)) COMMENT 'id (never the secret) of the API key used',
    db_user          LowCardinality(Nullable(String)) COMMENT 'session user of the database, observed',
    application_name LowCardinality(Nullable(String)) COMMENT 'application_name of the database session',

    schema_name      LowCardinality(Nullable(String)) COMMENT 'schema of the table at that time',
    table_name       LowCardinality(Nullable(String)) COMMENT 'table at that time',
    operation        LowCardinality(Nullable(String)) COMMENT 'insert | update | delete | truncate | message',
    xid              UInt32                           COMMENT 'transaction id; wraps around' CODEC(Delta(4), ZSTD(1)),
    commit_lsn       UInt64                           COMMENT 'position of the commit record in the write-ahead log' CODEC(Delta(8), ZSTD(1)),
    ordinal          UInt32                           COMMENT 'number of the entry within its transaction' CODEC(Delta(4), ZSTD(1)),

    salt             FixedString(16)                  COMMENT 'makes entry_hash unguessable from the proof of a neighbour' CODEC(NONE),
    seal             FixedString(64)                  COMMENT 'prev_hash || entry_hash; one column, because ZSTD then stores a hash once where two columns store it twice' CODEC(ZSTD(1)),
    prev_hash        FixedString(32)                  ALIAS CAST(substring(seal, 1, 32), 'FixedString(32)') COMMENT 'entry_hash of sequence - 1; of the genesis for sequence 0',
    entry_hash       FixedString(32)                  ALIAS CAST(substring(seal, 33, 32), 'FixedString(32)') COMMENT 'SHA-256 that seals this entry and, through prev_hash, all before it',

    stored_at        DateTime64(6, 'UTC')             DEFAULT now64(6) COMMENT 'when ClickHouse stored it; not hashed' CODEC(Delta(8), ZSTD(1))
)
ENGINE = MergeTree
-- One part per insert is what makes a batch atomic, and a batch never crosses
-- a month.
PARTITION BY toYYYYMM(timestamp)
ORDER BY (stream, sequence)
SETTINGS
    -- An insert repeated under the same token is dropped by the server.
    non_replicated_deduplication_window = 1000,
    -- Stored means on disk: the replication slot is acknowledged after it, and
    -- PostgreSQL then forgets the change.
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1
COMMENT 'pgwitness: the audit trail; append only';
