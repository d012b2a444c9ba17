package cdc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Config says which slot is read, and how.
type Config struct {
	// DSN of the audited database: a URL or keywords, as libpq takes them. The
	// role needs LOGIN and REPLICATION. It must reach the server itself: a
	// pooler cannot carry replication. Empty runs the embedded engine.
	DSN string `yaml:"dsn"`
	// Slot is the logical replication slot, made by setup.
	Slot string `yaml:"slot"`
	// Publication lists the audited tables, made by setup before the slot.
	Publication string `yaml:"publication"`
	// SystemID is the system identifier that the genesis of the chain names; a
	// server that has another one is refused. Empty: any. Not in the file.
	SystemID string `yaml:"-"`

	// StatusInterval is the longest time between two reports of the durable
	// position to the server. It is halved where wal_sender_timeout asks for
	// more. Default: 10s.
	StatusInterval time.Duration `yaml:"status_interval"`
	// IdleInterval is the shortest time between two markers by which the slot
	// advances over write-ahead log that holds nothing of ours. Default: 10s.
	IdleInterval time.Duration `yaml:"idle_interval"`
	// SilenceTimeout is how long the server may say nothing at all, although
	// it is asked after half of that time, before the connection counts as
	// dead. A server that decodes a long transaction outside of the publication
	// can be silent for minutes. Default: 5m.
	SilenceTimeout time.Duration `yaml:"silence_timeout"`
	// ConnectTimeout limits the connection, its checks and START_REPLICATION,
	// which may have to wait for a checkpoint. Default: 30s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// CatalogTimeout limits one question to the catalog. Default: 10s.
	CatalogTimeout time.Duration `yaml:"catalog_timeout"`

	// Backlog is the distance in bytes of write-ahead log, between what was read
	// and its end, at which the backlog is fetched by SQL instead of being
	// streamed, several times faster, until a quarter of it is left. For that
	// time one more replication slot is needed, and a second one is taken when
	// there is one: with it the server collects while we read. -1: never.
	// Default: 67108864 (64 MiB).
	Backlog int64 `yaml:"backlog"`
	// BacklogWindow is how many bytes of write-ahead log are fetched by one
	// statement at most. The server keeps the result in temporary files
	// meanwhile. As a rule it is 64 MiB, and more where the server has to go far
	// back for each. Default: 1073741824 (1 GiB).
	BacklogWindow int64 `yaml:"backlog_window"`

	// FeedBytes is the memory in bytes at which a feed is full and a large
	// transaction is cut into parts. Default: 4194304 (4 MiB).
	FeedBytes int `yaml:"feed_bytes"`
	// FeedChanges is the number of changes at which the same happens. Default:
	// 10000.
	FeedChanges int `yaml:"feed_changes"`
}

// DefaultConfig is what an empty configuration means; DSN, Slot and
// Publication have no default.
func DefaultConfig() Config {
	return Config{
		StatusInterval: 10 * time.Second,
		IdleInterval:   10 * time.Second,
		SilenceTimeout: 5 * time.Minute,
		ConnectTimeout: 30 * time.Second,
		CatalogTimeout: 10 * time.Second,
		Backlog:        64 << 20,
		BacklogWindow:  1 << 30,
		FeedBytes:      4 << 20,
		FeedChanges:    10_000,
	}
}

// Validate returns all problems at once, each with the path of its key. An
// empty DSN is valid: it stands for the embedded engine, whose DSN is filled in
// before New. The DSN is not repeated, because it holds a password.
func (c Config) Validate() error {
	var problems []error
	add := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("postgres."+key+": "+format, args...))
	}
	if _, err := pgconn.ParseConfig(c.DSN); err != nil {
		add("dsn", "cannot be read; the form is postgres://user:password@host:5432/database, special characters percent-encoded")
	}
	if !slotName(c.Slot) {
		add("slot", "%q is not a name of 1 to 63 lower-case letters, digits and _", c.Slot)
	}
	if c.Publication == "" || len(c.Publication) > 63 || strings.ContainsRune(c.Publication, 0) {
		add("publication", "%q is not a name of 1 to 63 bytes", c.Publication)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"status_interval", c.StatusInterval},
		{"idle_interval", c.IdleInterval},
		{"silence_timeout", c.SilenceTimeout},
		{"connect_timeout", c.ConnectTimeout},
		{"catalog_timeout", c.CatalogTimeout},
	} {
		if d.value <= 0 {
			add(d.key, "%s is not a positive duration such as 10s", d.value)
		}
	}
	if c.Backlog == 0 || c.Backlog < -1 {
		add("backlog", "%d is not a positive number of bytes, nor -1 for never", c.Backlog)
	}
	if c.BacklogWindow <= 0 {
		add("backlog_window", "%d is not a positive number of bytes", c.BacklogWindow)
	}
	if c.FeedBytes <= 0 {
		add("feed_bytes", "%d is not a positive number of bytes", c.FeedBytes)
	}
	if c.FeedChanges <= 0 {
		add("feed_changes", "%d is not a positive number of changes", c.FeedChanges)
	}
	return errors.Join(problems...)
}

// slotName reports whether PostgreSQL accepts s as the name of a slot. Such a
// name needs no quotes in a command.
func slotName(s string) bool {
	for _, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 63
}
