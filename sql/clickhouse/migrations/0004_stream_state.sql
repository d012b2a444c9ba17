-- What the sidecar must remember of a stream and may not read back from the
-- trail, because whoever produces entries cannot read them. All of it is in the
-- chain as well, in the entries start, publication_changed and gap: this is the
-- copy that the next start compares with.
--
-- Of several rows of a stream the last inserted counts: read it with FINAL.

-- +goose Up
CREATE TABLE IF NOT EXISTS stream_state
(
    stream        String               COMMENT 'the audited database',
    since         UInt64               COMMENT 'sequence of the first entry behind the last declared gap; 0 when there was none. Positions in the write-ahead log grow from here on only: before it, they may be of another history',
    timeline      UInt32               COMMENT 'timeline of the cluster when it was last read; 0: that of the genesis',
    configuration String               COMMENT 'SHA-256 of the configuration of the stream at the last start, without passwords, hexadecimal',
    publication   String               COMMENT 'JSON: the publication as it was last recorded',
    checked_at    DateTime64(6, 'UTC') COMMENT 'when the publication was last found so',
    saved_at      DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when ClickHouse stored it'
)
ENGINE = ReplacingMergeTree
ORDER BY stream
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'pgwitness: what the next start of each stream compares with';
