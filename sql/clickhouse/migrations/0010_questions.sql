-- What makes questions fast. audit_logs lies in the order of its chain, which is
-- the order that verification, the newest entries and a run of sequences want.
-- Whoever asks what happened to a resource, or what somebody did, wants another
-- one: a projection keeps the columns that people read a second time in the order
-- of resources, and a third time in that of actors. It is part of each part of
-- the table: stored, merged and dropped with it, never apart from it. It has
-- neither salt nor seal, so that nothing is ever verified by a copy.
-- docs/performance.md shows what it costs and what it saves.
--
-- What stands in a comment that begins with "newer:" is read by servers which know
-- the setting materialize_projections_on_merge: there an insert makes no
-- projections, the first merge of its part does, which takes half the processor
-- time. Older servers make them with each insert.
--
-- Parts that were stored before are rewritten in the background:
--   SELECT command, parts_to_do FROM system.mutations WHERE table = 'audit_logs' AND NOT is_done

-- +goose Up
ALTER TABLE audit_logs ADD INDEX IF NOT EXISTS by_time timestamp TYPE minmax GRANULARITY 1;
-- Finds the few updates that gave a row another key, and every TRUNCATE: pgwitness
-- state asks for them. A set of LowCardinality(Nullable) prunes nothing, hence the
-- CAST, which a question has to spell alike.
ALTER TABLE audit_logs ADD INDEX IF NOT EXISTS by_change (CAST(ifNull(operation, ''), 'String'), changed, isNotNull(old_values)) TYPE set(256) GRANULARITY 1;

ALTER TABLE audit_logs ADD PROJECTION IF NOT EXISTS by_resource
(
    SELECT stream, sequence, timestamp, actor_id, actor_email, actor_role, actor_type, resource_type, resource_id, action,
        old_values, new_values, changed, source, ip_address, user_agent, geo_country, geo_city, geo_lat, geo_lon,
        reason_code, reason_note, attribution, request_id, trace_id, api_key_id, db_user, application_name,
        schema_name, table_name, operation
    ORDER BY resource_type, resource_id, stream, sequence
) /* newer: WITH SETTINGS (index_granularity = 2048) */;

ALTER TABLE audit_logs ADD PROJECTION IF NOT EXISTS by_actor
(
    SELECT stream, sequence, timestamp, actor_id, actor_email, actor_role, actor_type, resource_type, resource_id, action,
        old_values, new_values, changed, source, ip_address, user_agent, geo_country, geo_city, geo_lat, geo_lon,
        reason_code, reason_note, attribution, request_id, trace_id, api_key_id, db_user, application_name,
        schema_name, table_name, operation
    ORDER BY actor_id, stream, sequence
) /* newer: WITH SETTINGS (index_granularity = 2048) */;

-- Which actors have an e-mail address: one row for each pair and part.
ALTER TABLE audit_logs ADD PROJECTION IF NOT EXISTS actor_emails
(
    SELECT actor_email, actor_id, count() GROUP BY actor_email, actor_id
) /* newer: WITH SETTINGS (index_granularity = 256) */;

-- A lightweight DELETE would leave projections behind: it is refused, to whoever
-- has a grant for it, too.
ALTER TABLE audit_logs MODIFY SETTING lightweight_mutation_projection_mode = 'throw' /* newer: , materialize_projections_on_insert = 0, materialize_projections_on_merge = 1 */;

ALTER TABLE audit_logs MATERIALIZE INDEX by_time;
ALTER TABLE audit_logs MATERIALIZE INDEX by_change;
ALTER TABLE audit_logs MATERIALIZE PROJECTION by_resource;
ALTER TABLE audit_logs MATERIALIZE PROJECTION by_actor;
ALTER TABLE audit_logs MATERIALIZE PROJECTION actor_emails;
