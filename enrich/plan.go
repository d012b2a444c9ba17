package enrich

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// plan is what is known of a relation before its rows are looked at.
type plan struct {
	relation     *audit.Relation
	resourceType audit.Text
	schema       audit.Text
	table        audit.Text
	columns      []column
	key          []int // indexes into columns, in key order
	row          rowColumns
	activity     activityColumns
	byName       []int // indexes into columns, sorted by column name
	actions      [4][]*actionRule
	identity     string // words for the notes

	personal    bool          // a column holds personal values
	personalKey bool          // and one of them is part of the key
	subjects    []planSubject // whose they are
}

type column struct {
	name     string
	jsonKey  []byte // "name":
	form     form
	key      bool
	identity bool
	secret   bool            // the value stays out of the trail
	personal *personalColumn // a token stands for the value; nil: the value itself
}

// form says how a column is written in JSON.
type form byte

const (
	quotedText form = iota
	bareNumber      // smallint, integer, bigint
	boolean
)

// OIDs of the types that are not written as strings (pg_type.dat).
const (
	boolOID = 16
	int8OID = 20
	int2OID = 21
	int4OID = 23
)

// plan returns the plan of r, made anew when the table changed. Relations are
// immutable, so the pointer tells.
func (e *Enricher) plan(r *audit.Relation) *plan {
	if p := e.plans[r.ID]; p != nil && p.relation == r {
		return p
	}
	p := newPlan(r, e.rules)
	e.plans[r.ID] = p
	return p
}

func newPlan(r *audit.Relation, rules *rules) *plan {
	t := rules.table(r)
	p := &plan{
		relation:     r,
		resourceType: audit.T(resourceType(r, t)),
		schema:       audit.T(r.Schema),
		table:        audit.T(r.Name),
		key:          r.Key,
		row:          t.rowColumns(r),
		activity:     t.activityColumns(r),
		identity:     identityWord(r.Identity),
	}
	if len(t.Key) > 0 {
		p.key = indexes(r, t.Key)
	}
	for i, c := range r.Columns {
		p.columns = append(p.columns, column{
			name:     c.Name,
			jsonKey:  append(appendJSONString(nil, c.Name), ':'),
			form:     formOf(c.TypeOID),
			key:      slices.Contains(p.key, i),
			identity: c.InIdentity,
			secret:   slices.Contains(t.Secret, c.Name),
		})
		p.byName = append(p.byName, i)
	}
	slices.SortFunc(p.byName, func(a, b int) int {
		return strings.Compare(p.columns[a].name, p.columns[b].name)
	})
	p.choosePersonal(t)
	p.chooseActions(rules)
	return p
}

// table is what the configuration says of r, or of the partitioned table that
// it belongs to.
func (rs *rules) table(r *audit.Relation) Table {
	if t, ok := rs.tables[r.Schema+"."+r.Name]; ok || r.RootName == "" {
		return t
	}
	return rs.tables[r.RootSchema+"."+r.RootName]
}

// names are what a rule may call r: with and without the schema, and likewise
// the partitioned table that it belongs to.
func names(r *audit.Relation) []string {
	ns := []string{r.Schema + "." + r.Name, tableName(r.Schema, r.Name)}
	if r.RootName != "" {
		ns = append(ns, r.RootSchema+"."+r.RootName, tableName(r.RootSchema, r.RootName))
	}
	return ns
}

// chooseActions keeps the rules that can match this table, per operation.
func (p *plan) chooseActions(rules *rules) {
	called := names(p.relation)
	for i := range rules.actions {
		a := &rules.actions[i]
		if !slices.ContainsFunc(called, func(name string) bool { return matches(a.table, name) }) {
			continue
		}
		for op, text := range words.operation {
			if a.Operation == "" || a.Operation == text.String() {
				p.actions[op] = append(p.actions[op], a)
			}
		}
	}
}

// tableName is the name of a table as people write it: without the schema if
// that is public.
func tableName(schema, name string) string {
	if schema == "public" {
		return name
	}
	return schema + "." + name
}

func resourceType(r *audit.Relation, t Table) string {
	if t.Resource != "" {
		return t.Resource
	}
	if r.RootName != "" {
		return tableName(r.RootSchema, r.RootName)
	}
	return tableName(r.Schema, r.Name)
}

// indexes finds the columns called names; one that the table does not have (any
// more) is left out.
func indexes(r *audit.Relation, names []string) []int {
	var is []int
	for _, n := range names {
		if i := slices.IndexFunc(r.Columns, func(c audit.Column) bool { return c.Name == n }); i >= 0 {
			is = append(is, i)
		}
	}
	return is
}

func formOf(oid uint32) form {
	switch oid {
	case boolOID:
		return boolean
	case int2OID, int4OID, int8OID:
		return bareNumber
	}
	return quotedText
}

func identityWord(identity byte) string {
	switch identity {
	case 'f':
		return "full"
	case 'i':
		return "index"
	case 'n':
		return "nothing"
	}
	return "default"
}

// environment is what the condition of an action rule sees: old and new map
// column names to values: nil, a bool, an int, or the text that PostgreSQL
// wrote.
func (p *plan) environment(c *audit.Change) map[string]any {
	before, now := p.values(c.Old), p.values(c.New)
	p.hideSecrets(before, now)
	return map[string]any{
		"old":       before,
		"new":       now,
		"table":     tableName(p.relation.Schema, p.relation.Name),
		"operation": c.Op.String(),
	}
}

// hideSecrets puts stand-ins in the place of secret values, because the error of
// a rule may quote a value. Whether two are the same can still be asked.
func (p *plan) hideSecrets(before, now map[string]any) {
	for _, c := range p.columns {
		if !c.secret {
			continue
		}
		same := before[c.name] == now[c.name]
		if before[c.name] != nil {
			before[c.name] = secretText
		}
		if now[c.name] != nil && same {
			now[c.name] = secretText
		} else if now[c.name] != nil {
			now[c.name] = secretText + " changed"
		}
	}
}

func (p *plan) values(t audit.Tuple) map[string]any {
	m := make(map[string]any, len(t))
	for i, v := range t {
		if v.Kind != audit.Literal || i >= len(p.columns) {
			continue
		}
		m[p.columns[i].name] = native(p.columns[i].form, v.Data)
	}
	return m
}

func native(f form, data []byte) any {
	text := string(data)
	switch f {
	case boolean:
		return text == "t"
	case bareNumber:
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	}
	return text
}
