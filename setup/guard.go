package setup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Guard is a condition under which a statement is refused, unless its client
// says what is required.
type Guard struct {
	// Name, by which the client and the trail are told: lower-case letters,
	// digits, spaces, _ and -.
	Name string `yaml:"name"`
	// Table that it watches, with schema; one of the audited tables.
	Table string `yaml:"table"`
	// Operations that it watches: insert, update, delete, truncate.
	Operations []string `yaml:"operations"`
	// When is a condition in SQL over the row, OLD before and NEW after the
	// change, without subqueries. Empty: every row.
	When string `yaml:"when"`
	// Action that a refused attempt would have been. Default: create, update,
	// delete or truncate, after the first operation.
	Action string `yaml:"action"`
	// Show lists columns that the entry of a refused attempt holds. Default: none.
	Show []string `yaml:"show"`
	// Require says what the client must say, all of it.
	Require Requirement `yaml:"require"`
	// Key lists the columns of the resource id; empty: the primary key.
	Key []string `yaml:"-"`
}

// Requirement is what a client must say in session variables.
type Requirement struct {
	// Actor: somebody must be named in audit.actor_id. Default: false.
	Actor bool `yaml:"actor"`
	// ActorRole: audit.actor_role must be one of these. Default: any.
	ActorRole []string `yaml:"actor_role"`
	// ReasonCode: audit.reason_code must be one of these, "*" for any code.
	// Default: none is needed.
	ReasonCode []string `yaml:"reason_code"`
	// ReasonNote is the least length of audit.reason_note, in characters.
	// Default: 0, none is needed.
	ReasonNote int `yaml:"reason_note"`
	// MFAWithin is how long ago audit.mfa_at may be. Default: 0s, no second
	// factor is needed.
	MFAWithin time.Duration `yaml:"mfa_within"`
}

// guardArgument is what the trigger function is told, see install/guard.sql.
type guardArgument struct {
	Guard      string    `json:"guard"`
	Action     string    `json:"action"`
	Of         [2]string `json:"of"`
	Key        []string  `json:"key,omitempty"`
	Show       []string  `json:"show,omitempty"`
	Actor      bool      `json:"actor,omitempty"`
	ActorRole  []string  `json:"actor_role,omitempty"`
	ReasonCode []string  `json:"reason_code,omitempty"`
	ReasonNote int       `json:"reason_note,omitempty"`
	MFAWithin  float64   `json:"mfa_within,omitempty"`
}

var (
	guardName  = regexp.MustCompile(`^[a-z][a-z0-9 _-]{0,39}$`)
	reasonCode = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_.:-]{0,62}|\*)$`)
)

// guardOperations are the operations that a guard can watch, and the actions
// that they are without another word.
func guardOperations() map[string]string {
	return map[string]string{"insert": "create", "update": "update", "delete": "delete", "truncate": "truncate"}
}

// trigger is the name of the guard's trigger.
func (g Guard) trigger() string {
	return "pgwitness_guard_" + strings.NewReplacer(" ", "_", "-", "_").Replace(g.Name)
}

// action is what a refused attempt would have been.
func (g Guard) action() string {
	if g.Action != "" || len(g.Operations) == 0 {
		return g.Action
	}
	return guardOperations()[g.Operations[0]]
}

// argument is the JSON that the trigger function gets.
func (g Guard) argument() (string, error) {
	schema, name, _ := strings.Cut(g.Table, ".")
	r := g.Require
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(guardArgument{
		Guard: g.Name, Action: g.action(), Of: [2]string{schema, name}, Key: g.Key, Show: g.Show,
		Actor: r.Actor, ActorRole: r.ActorRole, ReasonCode: r.ReasonCode, ReasonNote: r.ReasonNote, MFAWithin: r.MFAWithin.Seconds(),
	})
	if err != nil {
		return "", fmt.Errorf("write argument of guard %q: %w", g.Name, err)
	}
	return strings.TrimSpace(b.String()), nil
}

// ValidateGuards returns all that is wrong with the guards by themselves, each
// problem with the path of its key: "guards[0].name: …". Whether the conditions
// are SQL only the server knows.
func ValidateGuards(guards []Guard) error {
	var problems []error
	add := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf(key+": "+format, args...))
	}
	seen := map[string]bool{}
	for i, g := range guards {
		at := fmt.Sprintf("guards[%d]", i)
		if !guardName.MatchString(g.Name) {
			add(at+".name", "%q is not a name of up to 40 lower-case letters, digits, spaces, _ and -, beginning with a letter", g.Name)
		}
		if seen[g.trigger()] {
			add(at+".name", "%q is taken by another guard", g.Name)
		}
		seen[g.trigger()] = true
		if p, err := parsePattern(g.Table); err != nil || !p.exact {
			add(at+".table", "%q is not the name of one table with schema, such as public.refunds", g.Table)
		}
		if len(g.Operations) == 0 {
			add(at+".operations", "names none of insert, update, delete, truncate")
		}
		for j, op := range g.Operations {
			if _, ok := guardOperations()[op]; !ok || slices.Index(g.Operations, op) != j {
				add(fmt.Sprintf("%s.operations[%d]", at, j), "%q is not one of insert, update, delete, truncate, or stands twice", op)
			}
		}
		if g.When != "" && slices.Contains(g.Operations, "truncate") {
			add(at+".when", "TRUNCATE names no rows, so a condition cannot be asked: make it a guard of its own, without when")
		}
		g.Require.validate(at+".require", add)
	}
	return errors.Join(problems...)
}

func (r Requirement) validate(at string, add func(key, format string, args ...any)) {
	if !r.Actor && len(r.ActorRole) == 0 && len(r.ReasonCode) == 0 && r.ReasonNote == 0 && r.MFAWithin == 0 {
		add(at, "asks for nothing: give actor, actor_role, reason_code, reason_note or mfa_within")
	}
	for i, code := range r.ReasonCode {
		if !reasonCode.MatchString(code) {
			add(fmt.Sprintf("%s.reason_code[%d]", at, i), "%q is not a code of letters, digits, _ . : and -, nor *", code)
		}
	}
	for i, role := range r.ActorRole {
		if role == "" {
			add(fmt.Sprintf("%s.actor_role[%d]", at, i), "is empty")
		}
	}
	if r.ReasonNote < 0 || r.ReasonNote > 8192 {
		add(at+".reason_note", "%d is not between 0 and 8192 characters", r.ReasonNote)
	}
	if r.MFAWithin < 0 || r.MFAWithin != 0 && r.MFAWithin < time.Second {
		add(at+".mfa_within", "%s is not at least 1s", r.MFAWithin)
	}
}

// GuardError says what is wrong with a guard that the server was asked about.
type GuardError struct {
	Index   int    // in Config.Guards
	Name    string // of the guard
	Key     string // that is wrong: table, when or show
	Message string
	Advice  string
}

func (e *GuardError) Error() string {
	return fmt.Sprintf("plan setup: guard %q: %s", e.Name, e.Message)
}

// Hint is what the operator can do.
func (e *GuardError) Hint() string { return e.Advice }
