package setup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// following is what is there of the event triggers and of what they know.
type following struct {
	triggers     []eventTrigger
	patterns     []sqlPattern
	unremembered int // followed tables that nobody looked at yet
}

type eventTrigger struct {
	Name  string `db:"name"`
	Sound bool   `db:"sound"`
}

// sqlPattern is one row of pgwitness.pattern.
type sqlPattern struct {
	Publication string `db:"publication"`
	Excludes    bool   `db:"excludes"`
	SchemaRegex string `db:"schema_regex"`
	NameRegex   string `db:"name_regex"`
	Identity    string `db:"identity"`
}

// eventTriggers are the names of the event triggers of setup, and their events.
func eventTriggers() [][2]string {
	return [][2]string{{"pgwitness_ddl", "ddl_command_end"}, {"pgwitness_drop", "sql_drop"}, {"pgwitness_rewrite", "table_rewrite"}}
}

// followingFiles are the functions of the event triggers, those first that
// others call.
func followingFiles() []string { return []string{"describe", "lost", "follow", "ddl"} }

// sound reports whether every event trigger is there as setup makes it.
func (f following) sound() bool {
	n := 0
	for _, t := range f.triggers {
		if t.Sound {
			n++
		}
	}
	return n == len(eventTriggers())
}

func (v *view) lookForFollowing(ctx context.Context, tx pgx.Tx) (f following, err error) {
	if f.triggers, err = many[eventTrigger](ctx, tx, "check/event_triggers.sql"); err != nil {
		return f, err
	}
	if !v.objects.Following || !v.objects.MayReadFollowing {
		return f, nil
	}
	if f.patterns, err = many[sqlPattern](ctx, tx, "check/patterns.sql"); err != nil {
		return f, err
	}
	n, err := one[struct {
		Tables int `db:"tables"`
	}](ctx, tx, "check/unremembered.sql")
	if err != nil {
		return f, err
	}
	f.unremembered = n.Tables
	return f, nil
}

// follows reports whether event triggers are wanted and can be had.
func (v *view) follows() bool { return v.cfg.DDL != DDLOff && v.server.MayEventTriggers }

// wantedPatterns is the configuration as the event triggers read it.
func (v *view) wantedPatterns() ([]sqlPattern, error) {
	selection, err := newSelection(v.cfg)
	if err != nil {
		return nil, err
	}
	var list []sqlPattern
	slices.SortStableFunc(selection.include, func(a, b rule) int { // an exact name goes before a pattern
		return cmp.Compare(order(a.exact), order(b.exact))
	})
	for _, r := range selection.include {
		list = append(list, v.sqlPattern(r.pattern, r.identity[:1], false))
	}
	for _, x := range selection.exclude {
		list = append(list, v.sqlPattern(x, "", true))
	}
	return list, nil
}

func order(first bool) int {
	if first {
		return 0
	}
	return 1
}

func (v *view) sqlPattern(p pattern, identity string, excludes bool) sqlPattern {
	return sqlPattern{
		Publication: v.cfg.Publication, Excludes: excludes, Identity: identity,
		SchemaRegex: regex(p.schema, p.exact), NameRegex: regex(p.name, p.exact),
	}
}

// regex is a pattern of the configuration as a regular expression of
// PostgreSQL, anchored at both ends.
func regex(glob string, exact bool) string {
	var b strings.Builder
	b.WriteString("^(?:")
	class := false
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case !exact && !class && c == '*':
			b.WriteString(".*")
		case !exact && !class && c == '?':
			b.WriteByte('.')
		case !exact && !class && c == '[':
			class = true
			b.WriteByte(c)
		case class && c == ']':
			class = false
			b.WriteByte(c)
		case class && (c == '^' || c == '-'):
			b.WriteByte(c)
		case !exact && c == '\\' && i+1 < len(glob):
			i++
			b.WriteString(literally(glob[i]))
		default:
			b.WriteString(literally(c))
		}
	}
	b.WriteString(")$")
	return b.String()
}

// literally is one byte that stands for itself. Those beyond ASCII and letters,
// digits and _ need no help; behind a backslash they would mean something else.
func literally(c byte) string {
	if c >= 0x80 || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
		return string([]byte{c})
	}
	return `\` + string([]byte{c})
}

// planFollowing installs what the event triggers call and know.
func (p *planner) planFollowing() {
	if !p.follows() {
		return
	}
	if !p.objects.Following {
		p.add("What the event triggers must know: which tables are meant, and what they looked like.", "", []string{"install/following.sql"})
	}
	if !p.objects.SidecarFollowing && p.sidecar != p.server.Role && !p.server.SidecarSuperuser {
		p.add(fmt.Sprintf("The role %s of the sidecar reads which tables want a new baseline.", p.sidecar), "",
			[]string{"install/rereading.sql"}, "{role}", quoted(p.sidecar))
	}
	for _, name := range followingFiles() {
		p.planFunction(name)
	}
	wanted, err := p.wantedPatterns()
	if err != nil && p.err == nil {
		p.err = err
	}
	if slices.Equal(wanted, p.following.patterns) {
		return
	}
	fill := []string{"DELETE FROM pgwitness.pattern;"}
	for i, w := range wanted {
		identity := "NULL"
		if w.Identity != "" {
			identity = literal(w.Identity)
		}
		fill = append(fill, fmt.Sprintf("INSERT INTO pgwitness.pattern VALUES (%d, %s, %t, %s, %s, %s);",
			i, literal(w.Publication), w.Excludes, literal(w.SchemaRegex), literal(w.NameRegex), identity))
	}
	p.addSQL("The configured tables and patterns, for the event triggers.", "", fill...)
}

// planEventTriggers comes behind the tables: what setup itself has done to them
// is in no log that anybody reads yet.
func (p *planner) planEventTriggers() {
	if p.cfg.DDL == DDLOff {
		p.dropEventTriggers("Event triggers are not wanted (ddl: off).")
		return
	}
	if !p.follows() {
		return
	}
	altersTables := slices.ContainsFunc(p.steps, func(s Step) bool { return s.Table != "" })
	if !p.objects.Following || p.following.unremembered > 0 || altersTables {
		p.add("What the audited tables look like now, so that entries can tell what an ALTER TABLE changed.", "", []string{"install/remember.sql"})
	}
	for _, e := range eventTriggers() {
		name, event := e[0], e[1]
		if slices.Contains(p.following.triggers, eventTrigger{name, true}) {
			continue
		}
		p.add(fmt.Sprintf("Event trigger %s, which records DDL and has new tables followed.", name), "",
			[]string{"install/event_trigger.sql"}, "{name}", name, "{event}", event)
		p.steps[len(p.steps)-1].Optional = true
		p.watched = len(p.steps)
	}
}

// dropEventTriggers removes those of ours that are there.
func (p *planner) dropEventTriggers(why string) {
	var drops []string
	for _, t := range p.following.triggers {
		drops = append(drops, "DROP EVENT TRIGGER "+quoted(t.Name)+";")
	}
	if len(drops) > 0 {
		p.addSQL(why, "", drops...)
	}
}

// announce makes every step say in the log that it is setup that acts, so that
// the event triggers do not take it for somebody who works against the auditor.
// It can be said only by who may read the keys: at a first setup, by the steps
// behind the one that makes the event triggers, when all it takes is there.
func (p *planner) announce() {
	state, err := p.functionState("event")
	if err != nil && p.err == nil {
		p.err = err
	}
	first := 0
	if state != "" || len(p.following.triggers) == 0 || p.keys != keysPresent {
		first = len(p.steps)
		if p.watched > 0 {
			first = p.watched
		}
	}
	for i := first; i < len(p.steps); i++ {
		s := p.steps[i]
		say := fmt.Sprintf("SELECT pgwitness.event('setup', 'pgwitness.setup', NULL, pg_catalog.jsonb_build_object('step', %s::text));", literal(s.Why))
		if !s.Alone && !strings.Contains(s.Statements[0], "'setup'") { // planRecord says it already
			p.steps[i].Announcement = say
		}
	}
}

// checkEventTriggers says whether DDL is recorded, and new tables followed.
func (c *checker) checkEventTriggers() {
	const check = "event_triggers"
	f := c.following
	if c.cfg.DDL == DDLOff {
		c.either(len(f.triggers) == 0, check, "off: DDL is not recorded, and new tables are not followed until the next setup", audit.Warning,
			"the configuration says ddl: off, and there are event triggers of ours", setupVerb)
		return
	}
	switch {
	case f.sound() && c.objects.Following:
		c.add(audit.OK, check, "", "DDL is recorded, and new tables are followed", "")
	case len(f.triggers) > 0:
		c.add(audit.Failure, check, "", "an event trigger is missing, disabled or altered: somebody may have changed the database unseen", setupVerb)
	case c.server.MayEventTriggers:
		c.add(audit.Failure, check, "", "there are no event triggers: DDL is not recorded, and new tables are not followed", setupVerb)
	default:
		c.add(audit.Warning, check, "", "there are no event triggers, and the role may not make any: DDL is not recorded, and new tables are followed late, or not before the next setup",
			"set admin_dsn to a superuser (or the administrator of the managed host), or set ddl: off; see docs/ddl.md")
		return
	}
	c.checkFollowing()
}

// checkFollowing looks at what the event triggers call and know.
func (c *checker) checkFollowing() {
	for _, name := range followingFiles() {
		c.checkFunction(name)
	}
	if !c.objects.Following || !c.objects.MayReadFollowing {
		return
	}
	wanted, err := c.wantedPatterns()
	if err != nil {
		c.err = err
		return
	}
	c.either(slices.Equal(wanted, c.following.patterns), "patterns", "the event triggers know the configured tables", audit.Failure,
		"the event triggers know other tables than the configuration names: new ones are not followed as configured", setupVerb)
}
