package cdc

import (
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	good := DefaultConfig()
	good.DSN, good.Slot, good.Publication = "postgres://u:sesame@h/db", "shop_1", `odd "name"`
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	tests := map[string]func(*Config){
		"postgres.dsn":             func(c *Config) { c.DSN = "postgres://u:sesame@h:x/db" },
		"postgres.slot":            func(c *Config) { c.Slot = "Shop" },
		"postgres.publication":     func(c *Config) { c.Publication = "" },
		"postgres.status_interval": func(c *Config) { c.StatusInterval = 0 },
		"postgres.idle_interval":   func(c *Config) { c.IdleInterval = -time.Second },
		"postgres.silence_timeout": func(c *Config) { c.SilenceTimeout = 0 },
		"postgres.connect_timeout": func(c *Config) { c.ConnectTimeout = 0 },
		"postgres.catalog_timeout": func(c *Config) { c.CatalogTimeout = 0 },
		"postgres.backlog":         func(c *Config) { c.Backlog = -2 },
		"postgres.backlog_window":  func(c *Config) { c.BacklogWindow = 0 },
		"postgres.feed_bytes":      func(c *Config) { c.FeedBytes = 0 },
		"postgres.feed_changes":    func(c *Config) { c.FeedChanges = -1 },
	}
	for key, spoil := range tests {
		c := good
		spoil(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: got %v", key, err)
		}
	}
	var all Config
	all.DSN = "postgres://u@h:x"
	if n := len(strings.Split(all.Validate().Error(), "\n")); n != len(tests) {
		t.Errorf("an empty configuration has %d problems, want %d at once", n, len(tests))
	}
}

func TestStatusInterval(t *testing.T) {
	cfg := DefaultConfig()
	for timeout, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Minute: 10 * time.Second, 3 * time.Second: time.Second} {
		if got := statusInterval(cfg, timeout); got != want {
			t.Errorf("wal_sender_timeout %s: got %s, want %s", timeout, got, want)
		}
	}
}
