package sink

import (
	"errors"
	"fmt"
	"time"
)

// Config says how patient the sink is. How ClickHouse is reached is
// store.Config.
type Config struct {
	// InsertTimeout limits one insert; then it is fenced and its outcome read
	// from the head. Default: 60s.
	InsertTimeout time.Duration `yaml:"insert_timeout"`
	// StallTimeout is how long the server waits for the next bytes of an insert
	// before it gives the insert up, rounded up to seconds. It bounds how long
	// an insert outlives a network that has gone silent. Default: 10s.
	StallTimeout time.Duration `yaml:"stall_timeout"`
	// FenceWait is how long an insert that is still running on the server, from
	// an earlier process or a broken connection, may take to end by itself
	// before it is killed. Default: 5s.
	FenceWait time.Duration `yaml:"fence_wait"`
	// MaxBackoff limits the pause between two attempts. Default: 10s.
	MaxBackoff time.Duration `yaml:"max_backoff"`
}

// DefaultConfig is what an empty configuration means.
func DefaultConfig() Config {
	return Config{
		InsertTimeout: time.Minute, StallTimeout: 10 * time.Second,
		FenceWait: 5 * time.Second, MaxBackoff: 10 * time.Second,
	}
}

// Validate returns all problems at once, each with the path of its key.
func (c Config) Validate() error {
	var problems []error
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"insert_timeout", c.InsertTimeout}, {"stall_timeout", c.StallTimeout}, {"fence_wait", c.FenceWait}, {"max_backoff", c.MaxBackoff},
	} {
		if d.value <= 0 {
			problems = append(problems, fmt.Errorf("sink.%s: %s is not a positive duration such as 10s", d.key, d.value))
		}
	}
	return errors.Join(problems...)
}
