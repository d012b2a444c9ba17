package setup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// guardFunction is the trigger function of every guard.
const guardFunction = "pgwitness.guard"

// guardTrigger is a trigger of a guard as it is in the audited database.
type guardTrigger struct {
	Table      string `db:"table_name"` // in SQL
	Name       string `db:"trigger"`
	Definition string `db:"definition"`
	Always     bool   `db:"always"` // fires ALWAYS, on every partition
}

// wantedGuard is a trigger as the configuration wants it.
type wantedGuard struct {
	guard Guard
	index int // in Config.Guards
	table *table
	name  string   // of the trigger
	file  string   // of sql/postgres/guard that makes it
	fill  []string // its placeholders, but for table and function
	// definition is what the server makes of the statement, normal; "" when this
	// role could not have it tried.
	definition string
}

// guards is what is known of the guards: what is there, what is wanted, and
// what is wrong with the first that cannot be made.
type guards struct {
	present []guardTrigger
	wanted  []wantedGuard
	problem *GuardError
}

// tryGuards works out the triggers that the configuration wants, and has the
// server try each on a temporary table, in a transaction that is rolled back:
// nothing is changed, and no table of the application is locked.
func (v *view) tryGuards(ctx context.Context, conn *pgx.Conn) error {
	for i := range v.cfg.Guards {
		if err := v.wantGuard(i); err != nil {
			return err
		}
	}
	for i := range v.guards.wanted {
		if v.guards.problem != nil {
			return nil
		}
		w := &v.guards.wanted[i]
		if err := v.tryGuard(ctx, conn, w); err != nil {
			return fmt.Errorf("try guard %q: %w", w.guard.Name, err)
		}
	}
	return nil
}

// wantGuard lists the triggers of guard i.
func (v *view) wantGuard(i int) error {
	g := v.cfg.Guards[i]
	at := slices.IndexFunc(v.tables, func(t *table) bool { return t.subject() == g.Table && t.audited() })
	if at < 0 {
		v.guardProblem(i, "table", fmt.Sprintf("the table %s is not audited", g.Table),
			"name it under tables too, or correct it: names are case-sensitive, with schema, such as public.refunds")
		return nil
	}
	t := v.tables[at]
	var rows []string
	for _, op := range g.Operations {
		if op != "truncate" {
			rows = append(rows, strings.ToUpper(op))
		}
	}
	if len(rows) > 0 {
		if err := v.wantTrigger(i, t, g.trigger(), "row", strings.Join(rows, " OR ")); err != nil {
			return err
		}
	}
	if t.Kind == "p" && slices.Contains(g.Operations, "update") {
		if err := v.wantTrigger(i, t, g.trigger()+"_move", "move", ""); err != nil {
			return err
		}
	}
	if !slices.Contains(g.Operations, "truncate") {
		return nil
	}
	for _, leaf := range v.tables { // triggers per statement are those of one table, not of its partitions
		if leaf == t || slices.Contains(leaf.Ancestors, t.OID) {
			if err := v.wantTrigger(i, leaf, g.trigger()+"_all", "truncate", ""); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *view) wantTrigger(i int, t *table, name, file, operations string) error {
	g := v.cfg.Guards[i]
	argument, err := g.argument()
	if err != nil {
		return err
	}
	when := ""
	if g.When != "" {
		when = "WHEN (\n" + strings.TrimSpace(g.When) + "\n) " // a comment at its end must not swallow ours
	}
	fill := []string{"{trigger}", quoted(name), "{operations}", operations, "{when}", when, "{argument}", strings.TrimSpace(literal(argument))}
	v.guards.wanted = append(v.guards.wanted, wantedGuard{guard: g, index: i, table: t, name: name, file: file, fill: fill})
	return nil
}

// subject names w in findings.
func (w *wantedGuard) subject() string {
	subject := w.guard.Name + " on " + w.table.subject()
	if w.file == "move" {
		subject += ", rows that move to another partition"
	}
	return subject
}

// statement makes the trigger of w on a table, for it to call function.
func (w *wantedGuard) statement(table, function string) (string, error) {
	return statements("guard/"+w.file+".sql", append([]string{"{table}", table, "{function}", function}, w.fill...)...)
}

func (v *view) guardProblem(i int, key, message, advice string) {
	if v.guards.problem == nil {
		v.guards.problem = &GuardError{Index: i, Name: v.cfg.Guards[i].Name, Key: key, Message: message, Advice: advice}
	}
}

// errRollBack ends a transaction that only tried something.
var errRollBack = errors.New("only tried")

// tryGuard has the server make the trigger of w on a copy of its table. A
// condition that it refuses is a problem of the configuration; a right that
// this role lacks leaves the definition unknown.
func (v *view) tryGuard(ctx context.Context, conn *pgx.Conn, w *wantedGuard) error {
	probe, err := statements("guard/probe.sql", "{table}", w.table.sql())
	if err != nil {
		return err
	}
	made := false // the copy is
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, settings("SET LOCAL")+probe, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		made = true
		for _, column := range w.guard.Show {
			if _, err := tx.Exec(ctx, "SELECT "+quoted(column)+" FROM pg_temp.pgwitness_probe", pgx.QueryExecModeSimpleProtocol); err != nil {
				return &GuardError{Index: w.index, Name: w.guard.Name, Key: "show", Message: fmt.Sprintf("there is no column %q", column), Advice: "correct the name under show"}
			}
		}
		statement, err := w.statement("pg_temp.pgwitness_probe", "pg_temp.guard")
		if err != nil {
			return err
		}
		// The extended protocol takes one statement only: a condition cannot end ours
		// and begin another.
		if _, err := tx.Conn().PgConn().ExecParams(ctx, statement, nil, nil, nil, nil).Close(); err != nil {
			return err
		}
		var definition string
		if err := tx.QueryRow(ctx, "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'pg_temp.pgwitness_probe'::regclass").Scan(&definition); err != nil {
			return err
		}
		w.definition = normalGuard(definition)
		return errRollBack
	})
	return v.judgeGuard(w, made, err)
}

// judgeGuard tells the mistakes of the configuration from other errors.
func (v *view) judgeGuard(w *wantedGuard, made bool, err error) error {
	var said *pgconn.PgError
	var problem *GuardError
	switch {
	case errors.Is(err, errRollBack):
		return nil
	case errors.As(err, &problem):
		v.guardProblem(problem.Index, problem.Key, problem.Message, problem.Advice)
		return nil
	case !errors.As(err, &said):
		return err
	case !made && (said.Code == "42501" || said.Code == "25006"):
		return nil // check runs as a role that may not, or on a standby
	case !made:
		return err
	}
	advice := "the condition is SQL over OLD and NEW, such as NEW.amount > 100; name functions and types with their schema"
	switch {
	case strings.Contains(said.Message, "OLD") || strings.Contains(said.Message, "NEW"):
		advice = "INSERT has no OLD row and DELETE no NEW one: make two guards, one for each operation"
	case said.Code == "0A000":
		advice = "a condition can ask no other rows: put the query into a function, and call that, with its schema"
	}
	message := "the condition is refused by PostgreSQL: " + said.Message
	if said.Hint != "" {
		advice += ". PostgreSQL says: " + said.Hint
	}
	v.guardProblem(w.index, "when", message, advice)
	return nil
}

var (
	guardTable = regexp.MustCompile(`(?s) ON .*? (FOR EACH (?:ROW|STATEMENT)) `)
	guardCall  = regexp.MustCompile(`EXECUTE FUNCTION (?:pg_temp(?:_[0-9]+)?|pgwitness)\.guard\(`)
)

// normalGuard is the definition of a trigger without the table that it is on
// and the schema of its function, in which the tried one differs.
func normalGuard(definition string) string {
	if at := guardTable.FindStringSubmatchIndex(definition); at != nil {
		definition = definition[:at[0]] + " " + definition[at[2]:]
	}
	return guardCall.ReplaceAllString(definition, "EXECUTE FUNCTION guard(")
}

// is reports whether present is what w wants. What could not be tried is
// believed to be as wanted.
func (w *wantedGuard) is(present guardTrigger) bool {
	return w.table.sql() == present.Table && w.name == present.Name && present.Always &&
		(w.definition == "" || w.definition == normalGuard(present.Definition))
}

// installedGuard is the trigger in the place of w, nil when there is none.
func (v *view) installedGuard(w *wantedGuard) *guardTrigger {
	for i := range v.guards.present {
		if p := &v.guards.present[i]; p.Table == w.table.sql() && p.Name == w.name {
			return p
		}
	}
	return nil
}

// unwantedGuards are the triggers that no guard of the configuration has.
func (v *view) unwantedGuards() []guardTrigger {
	return slices.DeleteFunc(slices.Clone(v.guards.present), func(p guardTrigger) bool {
		return slices.ContainsFunc(v.guards.wanted, func(w wantedGuard) bool { return w.table.sql() == p.Table && w.name == p.Name })
	})
}

// planGuards comes behind the slot, so that the trail has every change of a
// guard, and every attempt that one refuses.
func (p *planner) planGuards() {
	for i := range p.guards.wanted {
		w := &p.guards.wanted[i]
		present := p.installedGuard(w)
		if present != nil && w.is(*present) {
			continue
		}
		create, err := w.statement(w.table.sql(), guardFunction)
		if err != nil && p.err == nil {
			p.err = err
		}
		var work []string
		change := "installed"
		if present != nil {
			change = "replaced"
			work = append(work, dropGuard(w.table.sql(), w.name))
		}
		work = append(work,
			create,
			"ALTER TABLE "+w.table.sql()+" ENABLE ALWAYS TRIGGER "+quoted(w.name)+";",
			recordGuard(w.guard.Name, w.table.subject(), w.name, change, w.guard.When))
		p.addSQL(fmt.Sprintf("Guard %s: %s.", w.subject(), change), w.table.sql(), work...)
	}
	for _, u := range p.unwantedGuards() {
		p.addSQL(fmt.Sprintf("The trigger %s on %s belongs to no guard of the configuration.", u.Name, u.Table), u.Table,
			dropGuard(u.Table, u.Name), recordGuard(u.Name, u.Table, u.Name, "removed", ""))
	}
}

func dropGuard(table, name string) string {
	return "DROP TRIGGER " + quoted(name) + " ON " + table + ";"
}

// recordGuard tells the trail, in the transaction of the change itself.
func recordGuard(name, table, trigger, change, when string) string {
	details := fmt.Sprintf("jsonb_build_object('change', %s, 'table', %s, 'trigger', %s, 'condition', %s)",
		literal(change), literal(table), literal(trigger), literal(when))
	return "SELECT pgwitness.event(action => 'guard_changed', resource_type => 'pgwitness.guard', resource_id => " + literal(name) + ", details => " + details + ");"
}

// checkGuards compares the guards with the configuration.
func (c *checker) checkGuards() {
	const check = "guards"
	if p := c.guards.problem; p != nil {
		c.add(audit.Failure, check, p.Name, p.Message, p.Advice)
		return
	}
	for i := range c.guards.wanted {
		w := &c.guards.wanted[i]
		subject := w.subject()
		switch present := c.installedGuard(w); {
		case present == nil:
			c.add(audit.Failure, check, subject, "the guard is not installed: nothing is refused", setupVerb)
		case !present.Always:
			c.add(audit.Failure, check, subject, "the trigger "+w.name+" of the guard is disabled, wholly or for some sessions: somebody may have worked past it", setupVerb)
		case !w.is(*present):
			c.add(audit.Failure, check, subject, "the guard differs from the configuration: an older one, or tampered with", setupVerb)
		case w.definition == "":
			c.add(audit.Warning, check, subject, "the guard is there, and cannot be compared: this role may not read the table", "set admin_dsn to the role that runs setup")
		default:
			c.add(audit.OK, check, subject, "installed as configured, and fires always", "")
		}
	}
	for _, u := range c.unwantedGuards() {
		c.add(audit.Warning, check, u.Name+" on "+u.Table, "the guard is not in the configuration", setupVerb)
	}
}
