package pgwitness

import (
	"testing"

	"github.com/rs/zerolog"
)

// The goal leaves room for one stream within 128 MiB, program and all, and
// grows with what batches, feeds and streams may hold.
func TestMemoryGoal(t *testing.T) {
	goal := func(change func(*Config)) int64 {
		cfg := DefaultConfig()
		cfg.Streams = []StreamConfig{{Name: "shop"}}
		change(&cfg)
		cfg.fillStreams()
		return New(cfg, zerolog.Nop()).MemoryGoal()
	}
	one := goal(func(*Config) {})
	if one < 80<<20 || one > 112<<20 {
		t.Errorf("goal of one stream: %d MiB, want 80 to 112", one>>20)
	}
	for name, change := range map[string]func(*Config){
		"two streams": func(c *Config) { c.Streams = append(c.Streams, StreamConfig{Name: "billing"}) },
		"rows":        func(c *Config) { c.Batch.Rows *= 10 },
		"bytes":       func(c *Config) { c.Batch.Bytes *= 10 },
		"feeds":       func(c *Config) { c.Streams[0].Postgres.FeedBytes = 64 << 20 },
	} {
		if more := goal(change); more < one+60<<20 {
			t.Errorf("goal with more %s: %d MiB, with the defaults %d", name, more>>20, one>>20)
		}
	}
}
