package enrich

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// setupAction is the event by which pgwitness setup announces itself.
const setupAction = "setup"

// ddl is what the event triggers tell of one command; see docs/ddl.md.
type ddl struct {
	Tag       string       `json:"tag"` // CREATE TABLE
	Error     string       `json:"err"` // SQLSTATE of what kept the rest from being told
	Objects   []ddlObject  `json:"objects"`
	Altered   []alteration `json:"altered"`
	Gone      []uint32     `json:"gone"` // OIDs of followed tables that were dropped
	Followed  []following  `json:"followed"`
	Readers   []string     `json:"readers"` // who has rights to the keys and should not
	Statement string       `json:"statement"`
	Length    int          `json:"length"` // of the statement, when it was cut
}

// ddlObject is an object that the command created, altered, granted or dropped.
type ddlObject struct {
	Tag       string  `json:"tag"`
	Type      string  `json:"type"`
	Schema    string  `json:"schema"`
	Name      string  `json:"name"` // in SQL
	Extension *string `json:"ext"`
	Dropped   bool    `json:"dropped"`
	Audited   bool    `json:"audited"` // a dropped table that was
}

// following is a table that the command made, or made to match a pattern.
type following struct {
	Name  string   `json:"name"` // in SQL
	Done  []string `json:"done"`
	Error string   `json:"err"` // SQLSTATE of why it is not followed
}

// ddlPayload decodes a message of the event triggers.
func (e *Enricher) ddlPayload(body []byte, tx *audit.Tx) (*payload, error) {
	p, err := e.payload("DDL", body, tx.XID, true)
	if err == nil && p.DDL == nil {
		err = errors.New("decode DDL: there is none in the message")
	}
	return p, err
}

// ddlItem becomes one entry: an object of the command, or a table that changed
// with it.
type ddlItem struct {
	ddlObject
	altered  *alteration
	followed *following
}

// items lists what the entries are about. What changed in a table and how it is
// followed belongs to the table itself, where the command names it; a partition,
// which it does not name, is an item of its own.
func (d *ddl) items() []ddlItem {
	var items []ddlItem
	for _, o := range d.Objects {
		items = append(items, ddlItem{ddlObject: o})
	}
	table := func(schema, name string) *ddlItem {
		for i := range items {
			if items[i].Type == "table" && items[i].Name == name {
				return &items[i]
			}
		}
		items = append(items, ddlItem{ddlObject: ddlObject{Tag: d.Tag, Type: "table", Schema: schema, Name: name}})
		return &items[len(items)-1]
	}
	for i := range d.Altered {
		a := &d.Altered[i]
		table(a.After.Schema, a.After.SQL).altered = a
	}
	for i := range d.Followed {
		table("", d.Followed[i].Name).followed = &d.Followed[i]
	}
	if len(items) == 0 {
		items = append(items, ddlItem{ddlObject: ddlObject{Tag: d.Tag}})
	}
	return items
}

// ddlDetails is new_values of an entry about DDL.
type ddlDetails struct {
	Command   string  `json:"command"`
	Type      string  `json:"type,omitempty"`
	Object    string  `json:"object,omitempty"`
	Dropped   bool    `json:"dropped,omitempty"`
	Extension *string `json:"extension,omitempty"` // that the object belongs to
	Severity  string  `json:"severity,omitempty"`  // of an act against the auditor
	Why       string  `json:"why,omitempty"`       // it is one
	*tableDiff
	Followed    []string `json:"followed,omitempty"`
	RowsBefore  bool     `json:"rows_before_are_missing,omitempty"` // it may have had rows before it was followed
	NotFollowed string   `json:"not_followed,omitempty"`            // SQLSTATE of the reason
	Statement   string   `json:"statement,omitempty"`
	Length      int      `json:"statement_length,omitempty"` // when it was cut
	Error       string   `json:"error,omitempty"`
}

// appendDDL makes the entries of one command.
func (e *Enricher) appendDDL(dst []audit.Entry, tx *audit.Tx, p *payload) []audit.Entry {
	ctx := newContext(p, e.rules, rowClaims{})
	d := p.DDL
	if e.manned {
		e.desk.altered(d)
	}
	statement := ""
	if !e.rules.noStatements {
		statement = redact(d.Statement, d.Tag, e.rules.secretNames)
	}
	for _, item := range d.items() {
		var n *audit.Entry
		dst, n = e.begin(dst, ctx, tx)
		details := item.details(d, statement, e.rules.secretNames)
		details.Severity, details.Why = e.judge(&item, d)
		n.Operation, n.Action = audit.T("ddl"), audit.T(ddlAction(details))
		n.ResourceType, n.ResourceID = optional(databaseType(item.Type)), optional(item.Name)
		n.NewValues = e.arena.save(details.json())
		n.Attribution = ctx.attribution
		e.notice(&item, details)
		e.stats.BySource[ctx.who]++
	}
	return dst
}

func (i *ddlItem) details(d *ddl, statement string, secret map[string]bool) *ddlDetails {
	t := &ddlDetails{
		Command: i.Tag, Type: i.Type, Object: i.Name, Dropped: i.Dropped, Extension: i.Extension,
		Statement: statement, Length: d.Length, Error: d.Error,
	}
	if i.altered != nil {
		t.tableDiff = i.altered.diff(secret)
	}
	if f := i.followed; f != nil {
		t.Followed, t.NotFollowed = f.Done, f.Error
		t.RowsBefore = i.Tag != "CREATE TABLE" && (slices.Contains(f.Done, "stamps") || slices.Contains(f.Done, "published"))
	}
	return t
}

func (t *ddlDetails) json() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(t); err != nil { // strings, numbers and raw JSON that we made: it cannot be
		return []byte(`{"error":"not to be told in JSON"}`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}

func ddlAction(t *ddlDetails) string {
	switch {
	case t.Severity != "":
		return "audit_tampered"
	case t.Command == "GRANT":
		return "grant"
	case t.Command == "REVOKE":
		return "revoke"
	}
	return "ddl"
}

// databaseType is the resource_type of objects of the database, which are not
// taken for what the application calls table or role.
func databaseType(kind string) string {
	if kind == "" {
		return "db"
	}
	return "db." + strings.ReplaceAll(kind, " ", "_")
}
