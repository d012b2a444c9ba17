-- How far the baseline of each audited table is: the entries of the rows that
-- were there before the stream began. What it did is in the trail; this says
-- where it goes on after a restart, and what pgwitness status shows.
--
-- Of several rows of a table the last inserted counts: read it with FINAL.

-- +goose Up
CREATE TABLE IF NOT EXISTS baselines
(
    stream   String               COMMENT 'the audited database',
    relation UInt32               COMMENT 'OID of the table',
    state    String               COMMENT 'JSON: table, phase, rows, and while it runs the key of the last row',
    saved_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when ClickHouse stored it'
)
ENGINE = ReplacingMergeTree
ORDER BY (stream, relation)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'pgwitness: how far the baseline of each table is';
