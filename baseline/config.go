package baseline

import (
	"errors"
	"fmt"
)

// Config says how the rows are read that are older than the stream.
type Config struct {
	// Enabled: rows that were there before the stream began become entries,
	// too. Default: true.
	Enabled *bool `yaml:"enabled"`
	// ChunkRows is the number of rows that are read in one short transaction.
	// Default: 10000.
	ChunkRows int `yaml:"chunk_rows"`
	// RowsPerSecond is the most rows read per second; 0: as many as the stream
	// takes. Default: 0.
	RowsPerSecond int `yaml:"rows_per_second"`
	// KeylessRows is the number of rows up to which a table without a key is
	// read, which must be done in one piece. A larger one is left out, and an
	// entry says so. Default: 100000.
	KeylessRows int `yaml:"keyless_rows"`
}

// DefaultConfig is what an empty configuration means.
func DefaultConfig() Config {
	enabled := true
	return Config{Enabled: &enabled, ChunkRows: 10_000, KeylessRows: 100_000}
}

// FillDefaults gives every key that was left out its default.
func (c *Config) FillDefaults() {
	d := DefaultConfig()
	if c.Enabled == nil {
		c.Enabled = d.Enabled
	}
	if c.ChunkRows == 0 {
		c.ChunkRows = d.ChunkRows
	}
	if c.KeylessRows == 0 {
		c.KeylessRows = d.KeylessRows
	}
}

// Validate returns all problems at once, each with the path of its key.
func (c Config) Validate() error {
	var problems []error
	for _, n := range []struct {
		key              string
		value, low, high int
	}{
		{"chunk_rows", c.ChunkRows, 1, 1_000_000},
		{"rows_per_second", c.RowsPerSecond, 0, 1_000_000_000},
		{"keyless_rows", c.KeylessRows, 1, 10_000_000},
	} {
		if n.value < n.low || n.value > n.high {
			problems = append(problems, fmt.Errorf("baseline.%s: %d is not between %d and %d", n.key, n.value, n.low, n.high))
		}
	}
	return errors.Join(problems...)
}
