-- What was acknowledged to each replication slot, written before it is
-- acknowledged. A slot that is ahead of its last row here was moved by
-- somebody else: changes were skipped that nobody stored.

-- +goose Up
CREATE TABLE IF NOT EXISTS slot_positions
(
    stream   LowCardinality(String) COMMENT 'the audited database',
    lsn      UInt64                 COMMENT 'position in the write-ahead log up to which everything is stored' CODEC(Delta(8), ZSTD(1)),
    saved_at DateTime64(6, 'UTC')   DEFAULT now64(6) COMMENT 'when ClickHouse stored it' CODEC(Delta(8), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(saved_at)
ORDER BY (stream, lsn)
COMMENT 'pgwitness: positions acknowledged to the replication slots; append only';
