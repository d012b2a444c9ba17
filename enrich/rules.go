package enrich

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/pgwitness/pgwitness/audit"
)

// rules is a compiled Config.
type rules struct {
	tables        map[string]Table // by schema.name
	actors        []actorRule
	actions       []actionRule
	vocabulary    map[string]bool
	bulkThreshold int
	believed      []*regexp.Regexp // session users whose claims count; empty: all
	places        Locator          // nil: none
	publication   string
	noStatements  bool
	secretNames   map[string]bool     // of secret columns of any table
	personal      *personalFieldRules // nil: no field of an entry is personal
	activity      bool                // a table says who acts
}

type actorRule struct {
	ActorRule
	dbUser, dbRole, application *regexp.Regexp // nil: any
	network                     netip.Prefix   // invalid: any
}

type actionRule struct {
	ActionRule
	table *regexp.Regexp // nil: any
	when  *vm.Program    // nil: always
	word  audit.Text
}

func compileRules(cfg Config) (*rules, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &rules{
		tables:        make(map[string]Table),
		vocabulary:    make(map[string]bool),
		bulkThreshold: cfg.BulkThreshold,
		places:        cfg.Places,
		publication:   cfg.Publication,
		noStatements:  cfg.NoStatements,
		secretNames:   make(map[string]bool),
		personal:      compilePersonal(cfg.Personal),
	}
	for _, user := range cfg.BelievedUsers {
		r.believed = append(r.believed, glob(user))
	}
	if r.bulkThreshold == 0 {
		r.bulkThreshold = DefaultBulkThreshold
	}
	for _, t := range cfg.Tables {
		r.tables[t.Schema+"."+t.Name] = t
		r.activity = r.activity || t.Activity.Actor != ""
		for _, column := range t.Secret {
			r.secretNames[column] = true
		}
	}
	for _, w := range append(Actions(), cfg.Vocabulary...) {
		r.vocabulary[w] = true
	}
	for _, a := range cfg.Actors {
		r.actors = append(r.actors, compileActor(a))
	}
	for _, a := range cfg.Actions {
		c, err := compileAction(a)
		if err != nil {
			return nil, err
		}
		r.actions = append(r.actions, c)
	}
	return r, nil
}

func compileActor(a ActorRule) actorRule {
	m := a.Match
	c := actorRule{ActorRule: a, dbUser: glob(m.DBUser), dbRole: glob(m.DBRole), application: glob(m.ApplicationName)}
	c.network, _ = netip.ParsePrefix(a.Match.Network) // validated; empty stays invalid
	return c
}

func compileAction(a ActionRule) (actionRule, error) {
	c := actionRule{ActionRule: a, table: glob(a.Table), word: audit.T(a.Action)}
	if a.When == "" {
		return c, nil
	}
	var err error
	if c.when, err = compileWhen(a.When); err != nil {
		return c, fmt.Errorf("compile action rule %q: %w", a.Name, err)
	}
	return c, nil
}

// compileWhen compiles a condition. Columns are looked up when it runs, since
// a table can change under a rule.
func compileWhen(when string) (*vm.Program, error) {
	env := map[string]any{
		"old": map[string]any{}, "new": map[string]any{}, "table": "", "operation": "",
	}
	return expr.Compile(when, expr.Env(env), expr.AsBool())
}

// glob compiles a pattern in which * stands for any text and ? for one
// character; nil for the empty pattern.
func glob(pattern string) *regexp.Regexp {
	if pattern == "" {
		return nil
	}
	p := regexp.QuoteMeta(pattern)
	p = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(p)
	return regexp.MustCompile(`(?s)^` + p + `$`) // a quoted pattern always compiles
}

func matches(re *regexp.Regexp, s string) bool { return re == nil || re.MatchString(s) }

// actor returns the first rule that holds for the connection of p, or nil.
func (r *rules) actor(p *payload) *actorRule {
	for i := range r.actors {
		if a := &r.actors[i]; a.holds(p) {
			return a
		}
	}
	return nil
}

func (a *actorRule) holds(p *payload) bool {
	if !matches(a.dbUser, p.SessionUser) || !matches(a.dbRole, p.Role) || !a.isApplication(p.Application) {
		return false
	}
	if !a.network.IsValid() {
		return true
	}
	ip, err := netip.ParseAddr(p.Host)
	return err == nil && a.network.Contains(ip.Unmap())
}

// isApplication reports whether the application is meant, as it calls itself or
// as a pooler that adds the host calls it.
func (a *actorRule) isApplication(name string) bool {
	if matches(a.application, name) {
		return true
	}
	plain, _, ok := pooledApplication(name)
	return ok && matches(a.application, plain)
}

// action names what c did: by the first rule that holds, else by the number of
// rows of the transaction, else by its operation. ruleError tells of a rule
// that failed; the change keeps the name it would have had without that rule.
func (r *rules) action(p *plan, c *audit.Change, rows int) (action audit.Text, ruleError string) {
	action = plainAction(c.Op, rows > r.bulkThreshold)
	candidates := p.actions[opIndex(c.Op)]
	if len(candidates) == 0 {
		return action, ""
	}
	var env map[string]any
	for _, rule := range candidates {
		if rule.when == nil {
			return rule.word, ruleError
		}
		if env == nil {
			env = p.environment(c)
		}
		holds, err := expr.Run(rule.when, env)
		if err != nil {
			ruleError = fmt.Sprintf("%s: %s", rule.Name, p.tellable(err))
			continue
		}
		if holds == true {
			return rule.word, ruleError
		}
	}
	return action, ruleError
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func opIndex(op audit.Op) int {
	switch op {
	case audit.Insert:
		return 0
	case audit.Update:
		return 1
	case audit.Delete:
		return 2
	}
	return 3
}

// word is the Text of a constant, made once.
type wordList struct {
	plain, bulk, operation [4]audit.Text
	baseline               audit.Text
}

var words = wordList{ // never modified
	plain:     [4]audit.Text{audit.T("create"), audit.T("update"), audit.T("delete"), audit.T("truncate")},
	bulk:      [4]audit.Text{audit.T("bulk_create"), audit.T("bulk_update"), audit.T("bulk_delete"), audit.T("truncate")},
	operation: [4]audit.Text{audit.T("insert"), audit.T("update"), audit.T("delete"), audit.T("truncate")},
	baseline:  audit.T("baseline"),
}

func plainAction(op audit.Op, bulk bool) audit.Text {
	if bulk {
		return words.bulk[opIndex(op)]
	}
	return words.plain[opIndex(op)]
}

func operationText(op audit.Op) audit.Text { return words.operation[opIndex(op)] }
