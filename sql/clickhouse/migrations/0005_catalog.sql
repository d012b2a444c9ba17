-- What the watcher saw of the catalog of the audited database when it last
-- looked: roles, settings, audited tables, our own objects.

-- +goose Up
ALTER TABLE stream_state ADD COLUMN IF NOT EXISTS catalog String DEFAULT '' COMMENT 'JSON: roles, settings, audited tables and our own objects in the audited database as they were last seen';
