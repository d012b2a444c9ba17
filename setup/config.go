package setup

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The replica identities that a table can be given.
const (
	IdentityFull    = "full"    // the log has whole old rows
	IdentityDefault = "default" // the log has the primary key of old rows
	IdentityKeep    = "keep"    // whatever is set stays
)

// What is recorded of DDL.
const (
	DDLFull  = "full"  // with the text of the statement
	DDLNames = "names" // without
	DDLOff   = "off"   // nothing, and no event triggers
)

// Config says what is audited, and who does what.
type Config struct {
	// DSN of the role that installs and removes: the owner of the audited tables,
	// with CREATE on the database and REPLICATION, or a superuser. Check does
	// with the role of the sidecar.
	DSN string `yaml:"dsn"`
	// SidecarDSN of the role that the sidecar runs as. Default: DSN. Setup grants
	// this role the right to read the keys.
	SidecarDSN string `yaml:"sidecar_dsn"`
	// Slot is the name of the logical replication slot.
	Slot string `yaml:"slot"`
	// Publication is the name of the publication.
	Publication string `yaml:"publication"`
	// Tables that are audited, by name or pattern.
	Tables []Table `yaml:"tables"`
	// Exclude takes tables out again that a pattern of Tables caught; names or
	// patterns.
	Exclude []string `yaml:"exclude"`
	// Presets are the frameworks whose session variables the stamps carry:
	// postgrest, hasura, postgraphile. Default: none.
	Presets []string `yaml:"presets"`
	// Directory is the application's own table of users. Default: none.
	Directory Directory `yaml:"directory"`
	// DDL is full, names or off. Unless it is off, setup installs event triggers,
	// which record DDL and follow new tables, where the server lets the role of
	// DSN do so. Default: full.
	DDL string `yaml:"ddl"`
	// Baseline lets the role of the sidecar read the audited tables, so that rows
	// that were there before get into the trail. Default: false.
	Baseline bool `yaml:"baseline"`
	// Failover makes a slot that PostgreSQL 17 and later copy to standbys.
	// Default: false.
	Failover bool `yaml:"failover"`
	// Guards refuse statements that lack a reason, see docs/guards.md.
	Guards []Guard `yaml:"guards"`
	// LockTimeout is the longest time that a statement waits for the lock of a
	// table, during which the application waits behind it. Default: 2s.
	LockTimeout time.Duration `yaml:"lock_timeout"`
	// LockAttempts is how often such a statement is tried. Default: 15.
	LockAttempts int `yaml:"lock_attempts"`
}

// Table names one audited table, or several by a pattern.
type Table struct {
	// Name with schema, in which * and ? stand for any characters: public.orders,
	// public.*, *.audit_?. An exact name goes before a pattern, an earlier
	// pattern before a later one.
	Name string `yaml:"name"`
	// ReplicaIdentity is full, default or keep. Default: full, so that entries
	// have old values.
	ReplicaIdentity string `yaml:"replica_identity"`
	// Secret lists columns whose values must not enter the trail: one that the
	// table does not have is a mistake that would let another one in.
	Secret []string `yaml:"-"`
	// Personal lists the columns whose values become tokens, and those that say
	// whose they are: likewise.
	Personal []string `yaml:"-"`
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.SidecarDSN == "" {
		c.SidecarDSN = c.DSN
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = 2 * time.Second
	}
	if c.LockAttempts == 0 {
		c.LockAttempts = 15
	}
	c.DDL = cmp.Or(c.DDL, DDLFull)
	c.Tables = slices.Clone(c.Tables)
	for i := range c.Tables {
		if c.Tables[i].ReplicaIdentity == "" {
			c.Tables[i].ReplicaIdentity = IdentityFull
		}
	}
	return c
}

// Validate returns all problems at once, each with the path of its key. The
// DSNs are not repeated, because they hold passwords.
func (c Config) Validate() error {
	var problems []error
	add := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf(key+": "+format, args...))
	}
	c = c.withDefaults()
	for _, d := range []struct{ key, dsn string }{{"dsn", c.DSN}, {"sidecar_dsn", c.SidecarDSN}} {
		if _, err := pgconn.ParseConfig(d.dsn); err != nil {
			add(d.key, "cannot be read; the form is postgres://user:password@host:5432/database, special characters percent-encoded")
		}
	}
	if !slotName(c.Slot) {
		add("slot", "%q is not a name of 1 to 63 lower-case letters, digits and _", c.Slot)
	}
	if c.Publication == "" || len(c.Publication) > 63 || strings.ContainsRune(c.Publication, 0) {
		add("publication", "%q is not a name of 1 to 63 bytes", c.Publication)
	}
	if len(c.Tables) == 0 {
		add("tables", "names no table to audit")
	}
	for i, t := range c.Tables {
		if _, err := parsePattern(t.Name); err != nil {
			add(fmt.Sprintf("tables[%d].name", i), "%v", err)
		}
		if !slices.Contains([]string{IdentityFull, IdentityDefault, IdentityKeep}, t.ReplicaIdentity) {
			add(fmt.Sprintf("tables[%d].replica_identity", i), "%q is none of full, default, keep", t.ReplicaIdentity)
		}
	}
	for i, name := range c.Exclude {
		if _, err := parsePattern(name); err != nil {
			add(fmt.Sprintf("exclude[%d]", i), "%v", err)
		}
	}
	if err := ValidateGuards(c.Guards); err != nil {
		problems = append(problems, err)
	}
	if err := c.Directory.Validate(); err != nil {
		problems = append(problems, err)
	}
	for i, name := range c.Presets {
		if _, ok := presets()[name]; !ok {
			add(fmt.Sprintf("presets[%d]", i), "%q is none of postgrest, hasura, postgraphile", name)
		}
	}
	if !slices.Contains([]string{DDLFull, DDLNames, DDLOff}, c.DDL) {
		add("ddl", "%q is none of full, names, off", c.DDL)
	}
	if c.LockTimeout < time.Millisecond {
		add("lock_timeout", "%s is not at least 1ms", c.LockTimeout)
	}
	if c.LockAttempts < 1 {
		add("lock_attempts", "%d is not a positive number", c.LockAttempts)
	}
	return errors.Join(problems...)
}

// sidecarRole is the role that the sidecar logs in as.
func (c Config) sidecarRole() string {
	parsed, err := pgconn.ParseConfig(c.SidecarDSN)
	if err != nil {
		return ""
	}
	return parsed.User
}

// slotName reports whether PostgreSQL accepts s as the name of a slot.
func slotName(s string) bool {
	for _, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// pattern is a table name in which * and ? stand for any characters.
type pattern struct {
	schema, name string
	exact        bool
}

func parsePattern(s string) (pattern, error) {
	schema, name, ok := strings.Cut(s, ".")
	if !ok || schema == "" || name == "" {
		return pattern{}, fmt.Errorf("%q is not a table name with schema, such as public.orders or public.*", s)
	}
	p := pattern{schema, name, !strings.ContainsAny(s, "*?[\\")}
	if p.exact {
		return p, nil
	}
	for _, part := range []string{schema, name} {
		if _, err := path.Match(part, ""); err != nil {
			return pattern{}, fmt.Errorf("%q is not a pattern: a bracket is not closed", s)
		}
	}
	return p, nil
}

// matches reports whether the table schema.name is meant. A slash, which
// path.Match would not let * pass, is not treated differently from others.
func (p pattern) matches(schema, name string) bool {
	if p.exact {
		return p.schema == schema && p.name == name
	}
	return glob(p.schema, schema) && glob(p.name, name)
}

func glob(pattern, s string) bool {
	const stand = "\x00" // occurs in no name
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", stand), strings.ReplaceAll(s, "/", stand))
	return err == nil && ok
}

// selection answers which tables the configuration means.
type selection struct {
	include []rule
	exclude []pattern
}

type rule struct {
	pattern
	text     string // as configured
	identity string
}

func newSelection(c Config) (selection, error) {
	var s selection
	for _, t := range c.Tables {
		p, err := parsePattern(t.Name)
		if err != nil {
			return s, err
		}
		s.include = append(s.include, rule{p, t.Name, t.ReplicaIdentity})
	}
	for _, name := range c.Exclude {
		p, err := parsePattern(name)
		if err != nil {
			return s, err
		}
		s.exclude = append(s.exclude, p)
	}
	return s, nil
}

// identity is the replica identity configured for a table; ok is false if the
// table is not audited.
func (s selection) identity(schema, name string) (identity string, ok bool) {
	if s.excludes(schema, name) {
		return "", false
	}
	for _, exact := range []bool{true, false} {
		for _, r := range s.include {
			if r.exact == exact && r.matches(schema, name) {
				return r.identity, true
			}
		}
	}
	return "", false
}

func (s selection) excludes(schema, name string) bool {
	return slices.ContainsFunc(s.exclude, func(p pattern) bool { return p.matches(schema, name) })
}
