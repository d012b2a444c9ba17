-- The beginning of every chain. The hash of the genesis is prev_hash of
-- sequence 0, so that a chain cannot be swapped for another one.

-- +goose Up
CREATE TABLE IF NOT EXISTS genesis
(
    stream         String               COMMENT 'the audited database',
    system_id      String               COMMENT 'system identifier of the PostgreSQL cluster, decimal',
    timeline       UInt32               COMMENT 'timeline of the cluster when the chain began',
    database       String               COMMENT 'name of the audited database',
    slot           String               COMMENT 'replication slot',
    publication    String               COMMENT 'publication',
    log_public_key String               COMMENT 'Ed25519 public key that checkpoints are signed with',
    random         FixedString(32)      COMMENT 'random bytes that make the genesis unique',
    created_at     DateTime64(6, 'UTC') COMMENT 'when the chain was begun',
    settings       String               COMMENT 'session settings that values are rendered under; not hashed',
    stored_at      DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when ClickHouse stored it; not hashed'
)
ENGINE = MergeTree
ORDER BY stream
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'pgwitness: the beginning of every chain; one row per stream; append only';
