package spool

import (
	"errors"
	"fmt"
)

// Config says when entries are spooled, and how much of them.
type Config struct {
	// MaxRetainedWAL is the write-ahead log in bytes that the server may have to
	// keep for the slot because ClickHouse does not take entries. At half of it,
	// or at half of max_slot_wal_keep_size where that is less, entries go to the
	// spool. 0 never spools. Default: 1073741824 (1 GiB).
	MaxRetainedWAL int64 `yaml:"max_retained_wal"`
	// MaxBytes limits the spool of a stream. When it is full the log is kept by
	// the server after all. Default: 10737418240 (10 GiB).
	MaxBytes int64 `yaml:"max_bytes"`
	// SegmentBytes is the size at which a new file is begun. A file is deleted
	// when all its entries are stored. Default: 67108864 (64 MiB).
	SegmentBytes int64 `yaml:"segment_bytes"`
}

// DefaultConfig is what an empty configuration means.
func DefaultConfig() Config {
	return Config{MaxRetainedWAL: 1 << 30, MaxBytes: 10 << 30, SegmentBytes: 64 << 20}
}

// Validate returns all problems at once, each with the path of its key.
func (c Config) Validate() error {
	var problems []error
	if c.MaxRetainedWAL < 0 {
		problems = append(problems, fmt.Errorf("spool.max_retained_wal: %d is negative", c.MaxRetainedWAL))
	}
	if c.MaxBytes < 1<<20 {
		problems = append(problems, fmt.Errorf("spool.max_bytes: %d is below 1048576", c.MaxBytes))
	}
	if c.SegmentBytes < 1<<16 {
		problems = append(problems, fmt.Errorf("spool.segment_bytes: %d is below 65536", c.SegmentBytes))
	}
	return errors.Join(problems...)
}
