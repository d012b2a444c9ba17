-- How well it is known who changes what: by hour, table and source, and by the
-- connection, so that whoever says least about himself can be found:
--
--   SELECT table_name, db_user, application, sum(changes) - sum(attributed) AS unknown
--   FROM attribution_coverage WHERE hour > now() - INTERVAL 7 DAY
--   GROUP BY ALL ORDER BY unknown DESC LIMIT 10
--
-- A change counts as attributed when its actor is more than the database user.
-- The view reads with the rights of whoever asks.

-- +goose Up
CREATE VIEW IF NOT EXISTS attribution_coverage
(
    stream      LowCardinality(String)           COMMENT 'the audited database',
    hour        DateTime('UTC')                  COMMENT 'hour of the commit',
    schema_name LowCardinality(Nullable(String)) COMMENT 'schema of the table at that time',
    table_name  LowCardinality(Nullable(String)) COMMENT 'table at that time',
    source      String                           COMMENT 'how the actor is known: session, preset, comment, row, rule, observed (the database user alone), none',
    said_by     String                           COMMENT 'source with the name of the preset or rule',
    db_user     String                           COMMENT 'session user of the database; empty: no stamp',
    application String                           COMMENT 'application_name, without the host that a pooler adds',
    changes     UInt64                           COMMENT 'changes of rows, and TRUNCATE',
    attributed  UInt64                           COMMENT 'of them those whose actor is more than the database user',
    bypassed    UInt64                           COMMENT 'of them those without a stamp'
)
AS SELECT
    stream, toStartOfHour(timestamp) AS hour, schema_name, table_name,
    splitByChar(':', said_by)[1] AS source,
    if(JSONExtractString(ifNull(attribution, ''), 'actor_id') = '', 'none', JSONExtractString(ifNull(attribution, ''), 'actor_id')) AS said_by,
    ifNull(audit_logs.db_user, '') AS db_user,
    replaceRegexpOne(ifNull(application_name, ''), ' - [^ ]*:[0-9]+$', '') AS application,
    count() AS changes,
    countIf(source NOT IN ('none', 'observed')) AS attributed,
    countIf(JSONExtractString(ifNull(attribution, ''), 'context') = 'bypassed') AS bypassed
FROM audit_logs
WHERE operation IN ('insert', 'update', 'delete', 'truncate')
GROUP BY stream, hour, schema_name, table_name, source, said_by, db_user, application;
