-- The vault: what stands behind the tokens of personal values. Entries hold
-- tokens only, so erasing a person takes rows out of here and never out of
-- audit_logs. Who may read these tables stands in ../users.sql.
--
-- A row may be there more than once, because an insert of unknown outcome is
-- repeated; the rows are alike, and merges drop all but one.

-- +goose Up
CREATE TABLE IF NOT EXISTS subjects
(
    stream      String               COMMENT 'the audited database',
    subject     String               COMMENT 'whose personal values they are, such as customer:1234',
    subject_key FixedString(32)      COMMENT 'random key that all tokens of the subject are made with; made once, at his first sight' CODEC(NONE),
    made_at     DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when ClickHouse stored it'
)
ENGINE = ReplacingMergeTree
ORDER BY (stream, subject)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'pgwitness: the keys of data subjects';

CREATE TABLE IF NOT EXISTS openings
(
    stream    String                 COMMENT 'the audited database',
    token     FixedString(32)        COMMENT 'SHA256(subject_key || ns("pgwitness/token/v1") || ns(class) || ns(value)); in the trail: pii: and these bytes in hexadecimal' CODEC(NONE),
    class     LowCardinality(String) COMMENT 'kind of value: email, phone, address, …',
    value     String                 COMMENT 'the clear value: the text that PostgreSQL wrote' CODEC(ZSTD(1)),
    subject   String                 COMMENT 'whose it is' CODEC(ZSTD(1)),
    stored_at DateTime64(6, 'UTC')   DEFAULT now64(6) COMMENT 'when ClickHouse stored it' CODEC(Delta(8), ZSTD(1)),
    INDEX of_subject subject TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (stream, token)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'pgwitness: the clear values of tokens';

-- The trail as people read it: audit_logs, column for column, with the clear
-- value in the place of every token that can be opened. Whoever may not read
-- openings gets the tokens, and so does everybody for what was erased. The view
-- reads with the rights of whoever asks; values that are opened are JSON strings,
-- whatever their type.
--
-- All openings that one may read are taken into memory for each query, about two
-- microseconds and 150 bytes each: where there are millions, ask audit_logs, and
-- openings for the few tokens of the answer (docs/personal-values.md).
CREATE VIEW IF NOT EXISTS audit_trail
(
    id               UUID                             COMMENT 'UUIDv7 of the entry: commit time, then bits of SHA-256 over (stream, commit_lsn, ordinal); a replay makes the same id',
    stream           LowCardinality(String)           COMMENT 'the audited database: one replication slot, one chain',
    sequence         UInt64                           COMMENT 'number of the entry in its stream: 0, 1, 2, … without a hole',
    timestamp        DateTime64(6, 'UTC')             COMMENT 'when the transaction committed',
    actor_id         LowCardinality(Nullable(String)) COMMENT 'who did it: a person, an api:…, a system:…, a cron:…, or db:<session user>',
    actor_email      Nullable(String)                 COMMENT 'e-mail of the actor',
    actor_role       LowCardinality(Nullable(String)) COMMENT 'role of the actor at that moment',
    actor_type       LowCardinality(Nullable(String)) COMMENT 'human | api | system | cron | unknown',
    resource_type    LowCardinality(Nullable(String)) COMMENT 'what was changed: configured name of the table, else the table itself',
    resource_id      Nullable(String)                 COMMENT 'key of the row, components joined by /',
    action           LowCardinality(Nullable(String)) COMMENT 'create, update, delete, approve, refund, …: a closed vocabulary',
    old_values       Nullable(String)                 COMMENT 'JSON before: changed columns and key of an update, whole row of a delete',
    new_values       Nullable(String)                 COMMENT 'JSON after: changed columns and key of an update, whole row of an insert',
    changed          Array(LowCardinality(String))    COMMENT 'names of the changed columns, sorted',
    source           LowCardinality(Nullable(String)) COMMENT 'what it came through: admin panel, storefront, job, …',
    ip_address       Nullable(String)                 COMMENT 'client address; attribution says whether observed or asserted',
    user_agent       Nullable(String)                 COMMENT 'client program as it called itself',
    geo_country      LowCardinality(Nullable(String)) COMMENT 'ISO code of the country of ip_address when the change was captured',
    geo_city         LowCardinality(Nullable(String)) COMMENT 'city of ip_address',
    geo_lat          LowCardinality(Nullable(String)) COMMENT 'latitude as the decimal text that is hashed',
    geo_lon          LowCardinality(Nullable(String)) COMMENT 'longitude as the decimal text that is hashed',
    reason_code      LowCardinality(Nullable(String)) COMMENT 'why, out of a list',
    reason_note      Nullable(String)                 COMMENT 'why, in the words of the actor',
    attribution      Nullable(String)                 COMMENT 'JSON: field → where its value was taken from (session, comment, row, rule, observed, none)',
    request_id       Nullable(String)                 COMMENT 'id of the request that caused it',
    trace_id         Nullable(String)                 COMMENT 'id of the distributed trace',
    api_key_id       LowCardinality(Nullable(String)) COMMENT 'id (never the secret) of the API key used',
    db_user          LowCardinality(Nullable(String)) COMMENT 'session user of the database, observed',
    application_name LowCardinality(Nullable(String)) COMMENT 'application_name of the database session',
    schema_name      LowCardinality(Nullable(String)) COMMENT 'schema of the table at that time',
    table_name       LowCardinality(Nullable(String)) COMMENT 'table at that time',
    operation        LowCardinality(Nullable(String)) COMMENT 'insert | update | delete | truncate | message',
    xid              UInt32                           COMMENT 'transaction id; wraps around',
    commit_lsn       UInt64                           COMMENT 'position of the commit record in the write-ahead log',
    ordinal          UInt32                           COMMENT 'number of the entry within its transaction',
    salt             FixedString(16)                  COMMENT 'makes entry_hash unguessable from the proof of a neighbour',
    seal             FixedString(64)                  COMMENT 'prev_hash || entry_hash; one column, because ZSTD then stores a hash once where two columns store it twice',
    prev_hash        FixedString(32)                  COMMENT 'entry_hash of sequence - 1; of the genesis for sequence 0',
    entry_hash       FixedString(32)                  COMMENT 'SHA-256 that seals this entry and, through prev_hash, all before it',
    stored_at        DateTime64(6, 'UTC')             COMMENT 'when ClickHouse stored it; not hashed'
)
AS WITH
    -- Eight bytes of a token tell it from every other one that there will be.
    (SELECT (groupArray(reinterpretAsUInt64(substring(token, 1, 8))), groupArray(value), groupArray(toJSONString(value))) FROM openings) AS opening,
    digits -> reinterpretAsUInt64(unhex(substring(digits, 1, 16))) AS of_digits,
    -- In a text, every token; in JSON, every one that is the value of a member.
    text -> if(position(text, 'pii:') = 0, text, arrayStringConcat(arrayMap(
        (before, digits) -> concat(before, if(digits = '', '', transform(of_digits(digits), opening.1, opening.2, concat('pii:', digits)))),
        splitByRegexp('pii:[0-9a-f]{64}', text), arrayPushBack(extractAll(text, 'pii:([0-9a-f]{64})'), '')))) AS open_text,
    json -> if(position(json, '":"pii:') = 0, json, arrayStringConcat(arrayMap(
        (before, digits) -> concat(before, if(digits = '', '', concat('":', transform(of_digits(digits), opening.1, opening.3, concat('"pii:', digits, '"'))))),
        splitByRegexp('":"pii:[0-9a-f]{64}"', json), arrayPushBack(extractAll(json, '":"pii:([0-9a-f]{64})"'), '')))) AS open_values
SELECT
    id,
    stream,
    sequence,
    timestamp,
    actor_id,
    if(isNull(l.actor_email), NULL, open_text(CAST(assumeNotNull(l.actor_email), 'String'))) AS actor_email,
    actor_role,
    actor_type,
    resource_type,
    if(isNull(l.resource_id), NULL, open_text(CAST(assumeNotNull(l.resource_id), 'String'))) AS resource_id,
    action,
    if(isNull(l.old_values) OR l.operation NOT IN ('insert', 'update', 'delete', 'baseline'), l.old_values, open_values(assumeNotNull(l.old_values))) AS old_values,
    if(isNull(l.new_values) OR l.operation NOT IN ('insert', 'update', 'delete', 'baseline'), l.new_values, open_values(assumeNotNull(l.new_values))) AS new_values,
    changed,
    source,
    if(isNull(l.ip_address), NULL, open_text(CAST(assumeNotNull(l.ip_address), 'String'))) AS ip_address,
    if(isNull(l.user_agent), NULL, open_text(CAST(assumeNotNull(l.user_agent), 'String'))) AS user_agent,
    geo_country,
    geo_city,
    geo_lat,
    geo_lon,
    reason_code,
    reason_note,
    if(isNull(l.attribution), NULL, open_values(CAST(assumeNotNull(l.attribution), 'String'))) AS attribution,
    request_id,
    trace_id,
    api_key_id,
    db_user,
    application_name,
    schema_name,
    table_name,
    operation,
    xid,
    commit_lsn,
    ordinal,
    salt,
    seal,
    prev_hash,
    entry_hash,
    stored_at
FROM audit_logs AS l;
