package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// Step is one thing to do, and why.
type Step struct {
	Why string // one sentence
	// Statements to run in this order: in one transaction, or each by itself.
	Statements []string
	// Alone says that the statements cannot run in a transaction with others.
	Alone bool
	// Table is the table that gets locked, in SQL; "" for none.
	Table string
	// Announcement is run before the statements; see planner.announce.
	Announcement string
	// Optional says that setup goes on without it where the server refuses.
	Optional bool
}

// Plan is what is still to be done, in order. The zero Plan has nothing to do.
type Plan struct {
	Title string // what the steps do
	Steps []Step

	lockTimeout time.Duration
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 }

// String renders the plan as a script for psql, which does the same as Apply.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- %s: %d steps. Run with psql, as a role that owns the tables.\n", p.Title, len(p.Steps))
	b.WriteString("\\set ON_ERROR_STOP on\n" + settings("SET") + "\n")
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "\n-- %d. %s\n", i+1, s.Why)
		if !s.Alone {
			fmt.Fprintf(&b, "BEGIN;\nSET LOCAL lock_timeout = '%dms';\n", p.lockTimeout.Milliseconds())
		}
		for _, statement := range s.all() {
			b.WriteString(strings.TrimSpace(statement) + "\n")
		}
		if !s.Alone {
			b.WriteString("COMMIT;\n")
		}
	}
	return b.String()
}

// step is the step of the plan with these statements.
func (p *Plan) step(s Step) (own Step, ok bool) {
	for _, own := range p.Steps {
		if strings.Join(own.Statements, "") == strings.Join(s.Statements, "") {
			return own, true
		}
	}
	return Step{}, false
}

// all lists what is run, in order.
func (s Step) all() []string {
	if s.Announcement == "" {
		return s.Statements
	}
	return append([]string{s.Announcement}, s.Statements...)
}

// Prepare works out what is still needed to capture what the configuration
// names. It changes nothing. What setup must not or cannot do by itself, such
// as dropping a slot, is an error with a hint.
func Prepare(ctx context.Context, cfg Config) (*Plan, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	conn, v, err := survey(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if err := v.tryGuards(ctx, conn); err != nil {
		return nil, err
	}
	return v.plan()
}

// plan lists the steps in an order that never leaves the database in a state
// in which a statement of the application would fail: the functions before the
// triggers, the replica identity before the publication, the publication before
// the slot.
func (v *view) plan() (*Plan, error) {
	if err := v.missingTable(); err != nil {
		return nil, err
	}
	if err := v.obstacle(); err != nil {
		return nil, err
	}
	p := &planner{view: v}
	p.planSchema()
	p.planFunctions()
	p.planOverloads()
	p.planSidecar()
	p.planPublication()
	p.planFollowing()
	for _, t := range v.audited() {
		p.planTable(t)
	}
	p.planEventTriggers()
	p.planSlot()
	p.planGuards()
	p.planRecord()
	p.announce()
	if p.err != nil {
		return nil, fmt.Errorf("plan setup: %w", p.err)
	}
	return &Plan{
		Title:       fmt.Sprintf("pgwitness setup of database %s", v.server.Database),
		Steps:       p.steps,
		lockTimeout: v.cfg.LockTimeout,
	}, nil
}

// obstacle is the first reason why setup cannot or must not begin.
func (v *view) obstacle() error {
	fail := func(message, hint string) error {
		return audit.WithHint(errors.New("plan setup: "+message), hint)
	}
	s := v.server
	switch {
	case s.major() < oldestMajor:
		return fail("PostgreSQL "+s.Version+" is too old", "pgwitness needs PostgreSQL 14 or later")
	case s.Standby:
		return fail("the server is a standby, nothing can be installed there", "let the DSN lead to the primary")
	case s.WALLevel != "logical":
		return fail("wal_level is "+s.WALLevel, "run ALTER SYSTEM SET wal_level = logical, and restart the server")
	case !s.SidecarExists:
		return fail(fmt.Sprintf("the role %q of the sidecar does not exist", v.sidecar), v.roleSQL())
	case len(v.audited()) == 0:
		return fail("no table matches the configuration", "check the names under tables: they are case-sensitive, with schema, such as public.orders or public.*")
	case v.publication != nil && v.publication.AllTables:
		return fail(fmt.Sprintf("the publication %s is FOR ALL TABLES", v.cfg.Publication),
			"choose another name for the publication: setup publishes the configured tables only")
	case v.slot != nil && v.slot.lost():
		return fail(fmt.Sprintf("the slot %s has lost its write-ahead log", v.cfg.Slot),
			"changes are missing from now on: see pgwitness status. To begin anew: "+v.dropSlotSQL()+", then pgwitness setup")
	case v.slot != nil && (v.slot.Plugin == nil || *v.slot.Plugin != plugin || *v.slot.Database != s.Database):
		return fail(fmt.Sprintf("the slot %s exists, but is not one of pgoutput in this database", v.cfg.Slot), "choose another name for the slot")
	case v.slot != nil && v.publication == nil:
		return fail(fmt.Sprintf("the slot %s is older than the publication %s would be", v.cfg.Slot, v.cfg.Publication),
			"decoding would begin before the publication, and miss changes or fail. Drop the slot: "+v.dropSlotSQL()+", then pgwitness setup")
	}
	if err := v.strangers(); err != nil {
		return fmt.Errorf("plan setup: %w", err)
	}
	if v.noColumn != nil {
		return v.noColumn
	}
	if v.guards.problem != nil {
		return v.guards.problem
	}
	for _, t := range v.audited() {
		if code := v.identityCode(t); t.holdsRows() && !t.identifies(code) {
			return fail(fmt.Sprintf("%s has no usable key: published, it would refuse UPDATE and DELETE", t.subject()), v.keyFix(t))
		}
	}
	return nil
}

// oldestMajor and newestMajor bound the versions that are tested.
const (
	oldestMajor = 14
	newestMajor = 18
)

// plugin is the output plugin of the slot.
const plugin = "pgoutput"

func (v *view) dropSlotSQL() string {
	return "SELECT pg_drop_replication_slot(" + literal(v.cfg.Slot) + ")"
}

// roleSQL creates the role of the sidecar.
func (v *view) roleSQL() string {
	return fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION PASSWORD '…'", quoted(v.sidecar))
}

// identityCode is the replica identity that setup gives t. PostgreSQL 18
// refuses UPDATE on a published table with identity FULL and a virtual column,
// whose value is in no log; such a table is identified by its key.
func (v *view) identityCode(t *table) string {
	code := t.identityCode()
	if code == "f" && len(t.VirtualColumns) > 0 {
		return "d"
	}
	return code
}

func (v *view) keyFix(t *table) string {
	switch {
	case len(t.VirtualColumns) > 0:
		return fmt.Sprintf("add a primary key to %s: with its virtual generated columns PostgreSQL allows no replica identity FULL", t.sql())
	case t.wanted == IdentityKeep:
		return fmt.Sprintf("set replica_identity: full for %s, or ALTER TABLE %s REPLICA IDENTITY FULL, or exclude it", t.subject(), t.sql())
	}
	return fmt.Sprintf("set replica_identity: full for %s in the configuration, add a primary key, or exclude it", t.subject())
}
