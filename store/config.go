package store

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config says how ClickHouse is reached.
type Config struct {
	// DSN of the user who writes: clickhouse://user:password@host:9000, the
	// native port. Several hosts are separated by commas and tried in order;
	// ?secure=true asks for TLS. Empty runs the embedded engine.
	DSN string `yaml:"dsn"`
	// AdminDSN of the user who may create the schema, for setup only. Default:
	// the DSN.
	AdminDSN string `yaml:"admin_dsn"`
	// ReaderDSN of the user who may read the trail, for trail, verify and
	// status. Default: the DSN.
	ReaderDSN string `yaml:"reader_dsn"`
	// VaultDSN of the user who may read personal values, for verify, and for
	// trail and state with --open. Default: the reader DSN.
	VaultDSN string `yaml:"vault_dsn"`
	// Database that holds the trail. Default: pgwitness.
	Database string `yaml:"database"`
	// Compression of what travels on the wire: lz4, none, or auto, which is none
	// to this machine, where it costs more than it saves, and lz4 to any other.
	// Default: auto.
	Compression string `yaml:"compression"`
	// DialTimeout limits the connection and the handshake. Default: 5s.
	DialTimeout time.Duration `yaml:"dial_timeout"`
}

// The values of Config.Compression.
const (
	CompressAuto = "auto"
	CompressLZ4  = "lz4"
	CompressNone = "none"
)

// DefaultConfig is what an empty configuration means.
func DefaultConfig() Config {
	return Config{Database: "pgwitness", Compression: CompressAuto, DialTimeout: 5 * time.Second}
}

// Validate returns all problems at once, each with the path of its key. An
// empty DSN is valid: it stands for the embedded engine.
func (c Config) Validate() error {
	var problems []error
	for _, d := range []struct{ key, dsn string }{
		{"dsn", c.DSN}, {"admin_dsn", c.AdminDSN}, {"reader_dsn", c.ReaderDSN}, {"vault_dsn", c.VaultDSN},
	} {
		if d.dsn == "" {
			continue
		}
		if _, err := c.server(d.dsn); err != nil {
			problems = append(problems, fmt.Errorf("clickhouse.%s: %w", d.key, err))
		}
	}
	if !identifier(c.Database) {
		problems = append(problems, fmt.Errorf("clickhouse.database: %q is not a name of letters, digits and _ that begins with a letter", c.Database))
	}
	if !slices.Contains([]string{CompressAuto, CompressLZ4, CompressNone}, c.Compression) {
		problems = append(problems, fmt.Errorf("clickhouse.compression: %q is none of auto, lz4, none", c.Compression))
	}
	if c.DialTimeout <= 0 {
		problems = append(problems, fmt.Errorf("clickhouse.dial_timeout: %s is not a positive duration such as 5s", c.DialTimeout))
	}
	return errors.Join(problems...)
}

// Writer is the server as the sink sees it.
func (c Config) Writer() (Server, error) { return c.server(c.DSN) }

// Admin is the server as setup sees it.
func (c Config) Admin() (Server, error) { return c.server(or(c.AdminDSN, c.DSN)) }

// Reader is the server as trail, verify and status see it.
func (c Config) Reader() (Server, error) { return c.server(or(c.ReaderDSN, c.DSN)) }

// Vault is the server as those see it who may read personal values.
func (c Config) Vault() (Server, error) { return c.server(or(c.VaultDSN, or(c.ReaderDSN, c.DSN))) }

// server reads one DSN. A database named in it must be the configured one:
// two answers to the same question are refused.
func (c Config) server(dsn string) (Server, error) {
	s, err := Parse(dsn)
	if err != nil {
		return Server{}, err
	}
	if s.Database != "" && s.Database != c.Database {
		return Server{}, fmt.Errorf("names the database %q, and clickhouse.database says %q: leave it out of the DSN", s.Database, c.Database)
	}
	s.Database, s.DialTimeout = c.Database, c.DialTimeout
	s.Compress = c.Compression == CompressLZ4 || c.Compression != CompressNone && !s.local()
	return s, nil
}

// identifier reports whether s can stand unquoted as a name in SQL.
func identifier(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
