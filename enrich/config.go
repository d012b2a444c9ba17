package enrich

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Config is what an operator can say about the meaning of changes.
type Config struct {
	// Tables says how rows are named. A table that is not listed is named
	// after itself.
	Tables []Table `yaml:"-" json:"-"`
	// Database is the name of the audited database; a stamp of another one is a
	// forgery. Empty: not compared.
	Database string `yaml:"-" json:"-"`
	// Places knows where addresses lie; nil: nobody does.
	Places Locator `yaml:"-" json:"-"`
	// Presets are the frameworks whose session variables say who it is:
	// postgrest (and Supabase), hasura, postgraphile. Default: none.
	Presets []string `yaml:"presets"`
	// BelievedUsers are the session users whose claims (session variables,
	// presets, comments) count, * and ? as in file names. What others claim is
	// kept in attribution, and names nobody. Default: every user.
	BelievedUsers []string `yaml:"believed_users"`
	// Personal says which fields of every entry become tokens. Default: none.
	Personal Personal `yaml:"personal"`
	// Publication of the stream: who alters it acts against the auditor.
	Publication string `yaml:"-" json:"-"`
	// NoStatements leaves the texts of DDL statements out of the trail.
	NoStatements bool `yaml:"-" json:"-"`
	// Actors map what PostgreSQL observed of a connection to an actor. The
	// first rule that matches wins.
	Actors []ActorRule `yaml:"actors"`
	// Actions map a change to an action of the vocabulary. The first rule that
	// matches wins; without one, an insert is "create", an update "update", a
	// delete "delete" and so on.
	Actions []ActionRule `yaml:"actions"`
	// Vocabulary lists actions beyond the built-in ones. Rules and events can
	// use no others.
	Vocabulary []string `yaml:"vocabulary"`
	// BulkThreshold is the number of rows of one table in one transaction
	// above which its rows are bulk changes. Default 1000.
	BulkThreshold int `yaml:"bulk_threshold"`
}

// Table names the rows of a table.
type Table struct {
	Schema, Name string
	Resource     string                    // resource_type; empty: the name of the table
	Key          []string                  // columns of resource_id; empty: the primary key
	Secret       []string                  // columns whose values never enter the trail
	Subject      string                    // whose the personal columns are; empty: the row's own
	Personal     map[string]PersonalColumn // columns whose values become tokens
	ActorColumn  string                    // says who wrote the row, such as updated_by; empty: none
	ReasonColumn string                    // says why; empty: none
	Activity     Activity                  // its rows say who acts in their transaction
}

// ActorRule maps observed facts to an actor.
type ActorRule struct {
	// Name appears in the attribution of the entry as "rule:<name>".
	Name string `yaml:"name"`
	// Match holds the conditions, all of which must hold.
	Match ActorMatch `yaml:"match"`
	// Actor is filled in where nothing more trusted said otherwise.
	Actor Actor `yaml:"actor"`
}

// ActorMatch is a set of conditions on a connection; empty ones hold.
type ActorMatch struct {
	DBUser          string `yaml:"db_user"`          // session user, * and ? as in file names
	DBRole          string `yaml:"db_role"`          // role set by SET ROLE, likewise
	ApplicationName string `yaml:"application_name"` // likewise; what a pooler added does not count
	Network         string `yaml:"network"`          // CIDR that holds the client address
}

// Actor is who a rule says it was.
type Actor struct {
	ID     string `yaml:"id"`     // e.g. api:shopify-connector
	Email  string `yaml:"email"`  // optional
	Role   string `yaml:"role"`   // role at the time, optional
	Type   string `yaml:"type"`   // human, api, system, cron
	Source string `yaml:"source"` // interface, e.g. shopify; optional
}

// ActionRule maps a change to an action.
type ActionRule struct {
	// Name appears where the rule fails.
	Name string `yaml:"name"`
	// Table is the table, schema-qualified unless in public; * and ? as in
	// file names. Empty: every table.
	Table string `yaml:"table"`
	// Operation is insert, update, delete or truncate. Empty: each.
	Operation string `yaml:"operation"`
	// When is an expression (expr-lang) over old, new, table, operation; see
	// docs/configuration.md. Empty: always.
	When string `yaml:"when"`
	// Action is a word of the vocabulary.
	Action string `yaml:"action"`
}

// DefaultBulkThreshold is the BulkThreshold of a Config that gives none.
const DefaultBulkThreshold = 1000

// Actions is the built-in vocabulary.
func Actions() []string {
	return []string{
		"create", "update", "delete", "truncate",
		"bulk_create", "bulk_update", "bulk_delete",
		"approve", "reject", "archive", "restore", "refund", "adjust", "export", "cancel",
		"login", "logout", "login_failed", "read", "mfa_challenge", "api_call", "key_created", "key_rotated", "key_revoked",
		"grant", "revoke", "role_change", "price_change", "erase",
		"refused", "forged_context", "gap", "heartbeat", "start", "stop", "publication_changed", "setup", "guard_changed",
		"ddl", "role_changed", "audit_tampered", "alarms_acknowledged", "table_followed", "verify",
		"baseline", "baseline_started", "baseline_completed", "baseline_skipped",
	}
}

// Validate returns all problems at once, each beginning with the path of its
// key within this part of the configuration: "actors[2].match.network: …".
func (c Config) Validate() error {
	var problems []error
	bad := func(path, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	for i, name := range c.Presets {
		if !validPreset(name) {
			bad(fmt.Sprintf("presets[%d]", i), "is %q, want one of %s", name, strings.Join(Presets(), ", "))
		}
	}
	c.Personal.validate(bad)
	for i, user := range c.BelievedUsers {
		if user == "" {
			bad(fmt.Sprintf("believed_users[%d]", i), "is empty")
		}
	}
	for i, r := range c.Actors {
		r.validate(fmt.Sprintf("actors[%d]", i), bad)
	}
	words := append(Actions(), c.Vocabulary...)
	for i, r := range c.Actions {
		r.validate(fmt.Sprintf("actions[%d]", i), words, bad)
	}
	if c.BulkThreshold < 0 {
		bad("bulk_threshold", "must not be negative")
	}
	return errors.Join(problems...)
}

func (r ActorRule) validate(at string, bad func(string, string, ...any)) {
	if r.Name == "" {
		bad(at+".name", "is missing")
	}
	if r.Match == (ActorMatch{}) {
		bad(at+".match", "has no condition, so the rule would match every connection")
	}
	if _, err := path.Match(r.Match.DBUser, ""); err != nil {
		bad(at+".match.db_user", "is not a pattern: %v", err)
	}
	if _, err := path.Match(r.Match.ApplicationName, ""); err != nil {
		bad(at+".match.application_name", "is not a pattern: %v", err)
	}
	if n := r.Match.Network; n != "" {
		if _, err := netip.ParsePrefix(n); err != nil {
			bad(at+".match.network", "is not a network like 10.0.0.0/8: %v", err)
		}
	}
	if r.Actor == (Actor{}) {
		bad(at+".actor", "says nothing")
	}
	if t := r.Actor.Type; t != "" && !slices.Contains(actorTypes(), t) {
		bad(at+".actor.type", "is %q, want one of human, api, system, cron, unknown", t)
	}
}

func (r ActionRule) validate(at string, words []string, bad func(string, string, ...any)) {
	if r.Name == "" {
		bad(at+".name", "is missing")
	}
	if _, err := path.Match(r.Table, ""); err != nil {
		bad(at+".table", "is not a pattern: %v", err)
	}
	switch r.Operation {
	case "", "insert", "update", "delete", "truncate":
	default:
		bad(at+".operation", "is %q, want insert, update, delete or truncate", r.Operation)
	}
	if r.When != "" {
		if _, err := compileWhen(r.When); err != nil {
			bad(at+".when", "is not an expression: %v", err)
		}
	}
	if !slices.Contains(words, r.Action) {
		bad(at+".action", "is %q, which is not in the vocabulary", r.Action)
	}
}

func actorTypes() []string { return []string{"human", "api", "system", "cron", "unknown"} }
