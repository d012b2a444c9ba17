-- What was acknowledged to each replication slot, written before it is
-- acknowledged. A slot that is ahead of its row here was moved by somebody
-- else: changes were skipped that nobody stored.
--
-- Of several rows of a stream the last inserted counts: read it with FINAL.
-- Merges drop the others. No clock and no order of positions is involved,
-- because both may go backwards (a server that was set back, a database that was
-- restored from a backup).

-- +goose Up
CREATE TABLE IF NOT EXISTS slot_positions
(
    stream   String               COMMENT 'the audited database',
    lsn      UInt64               COMMENT 'position in the write-ahead log up to which everything is stored',
    saved_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when ClickHouse stored it'
)
ENGINE = ReplacingMergeTree
ORDER BY stream
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'pgwitness: position acknowledged to the replication slot of each stream';
