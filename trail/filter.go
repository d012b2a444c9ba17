package trail

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// DefaultLimit is the Limit of a Filter that gives none.
const DefaultLimit = 1000

// Filter says which entries are wanted. Empty fields do not restrict.
type Filter struct {
	Stream       string
	ResourceType string
	ResourceID   string    // as in the entries: key columns joined by "/"
	Actor        string    // actor_id or actor_email
	ActorType    string    // human, api, system, cron, unknown
	Action       string    // as in the entries: refund
	Operation    string    // insert, update, delete, truncate, event, …
	Table        string    // orders, or with its schema: sales.orders
	Column       string    // the changed columns include this one
	Since        time.Time // entries at or after it
	Until        time.Time // entries before it
	Reason       string    // reason_code
	NoReason     bool      // changes of rows for which no reason was given
	From         *uint64   // entries with this sequence or a higher one

	// Sealed asks for entries as they are sealed. Otherwise id, position in the
	// log, salt and hashes are left out, which no sentence tells, and the entries
	// are read from the projection in whose order they are asked for.
	Sealed bool
	Newest bool // newest first; otherwise oldest first
	// Limit is the greatest number of entries, the newest of all that there
	// are. 0: DefaultLimit; negative: no limit.
	Limit int
}

// Validate returns what is wrong with the filter, with a hint.
func (f Filter) Validate() error {
	switch {
	case f.ResourceID != "" && f.ResourceType == "":
		return audit.WithHint(errors.New("filter the trail: a resource id without its type"),
			"name both: pgwitness trail order 1234")
	case !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until):
		return audit.WithHint(fmt.Errorf("filter the trail: since %s is not before until %s", Time(f.Since.UnixMicro()), Time(f.Until.UnixMicro())),
			"swap --since and --until")
	case f.Reason != "" && f.NoReason:
		return audit.WithHint(errors.New("filter the trail: both a reason and no reason"), "leave one of the two out")
	}
	return nil
}

// conditions collects the parts of a WHERE clause. Values never become part of
// the statement: each travels as a parameter of its own.
type conditions struct {
	parts  []string
	params []proto.Parameter
}

// add appends a condition that mentions {name:Type}.
func (c *conditions) add(condition, name string, value any) {
	c.parts = append(c.parts, condition)
	c.params = append(c.params, store.Param(name, value))
}

// text is add for a string that restricts only when it is not empty.
func (c *conditions) text(condition, name, value string) {
	if value != "" {
		c.add(condition, name, value)
	}
}

// all joins the conditions; "" when there are none.
func (c *conditions) all() string { return strings.Join(c.parts, " AND ") }

// where is the whole clause, with a leading space.
func (c *conditions) where() string {
	if len(c.parts) == 0 {
		return ""
	}
	return " WHERE " + c.all()
}

// byActor finds an actor by id or e-mail address. The ids that go with the
// address are looked up first, so that the entries of an actor, which lie side by
// side in a projection, are all that is read.
const byActor = `(actor_id = {actor:String} OR actor_email = {actor:String}) AND (actor_id IS NULL OR actor_id IN (
	SELECT {actor:String} UNION ALL SELECT actor_id FROM audit_logs WHERE actor_email = {actor:String} GROUP BY actor_id))`

// conditions translates everything but order and limit.
func (f Filter) conditions() conditions {
	var c conditions
	c.text("stream = {stream:String}", "stream", f.Stream)
	c.text("resource_type = {resource_type:String}", "resource_type", f.ResourceType)
	c.text("resource_id = {resource_id:String}", "resource_id", f.ResourceID)
	c.text(byActor, "actor", f.Actor)
	c.text("actor_type = {actor_type:String}", "actor_type", f.ActorType)
	c.text("action = {action:String}", "action", f.Action)
	c.text("operation = {operation:String}", "operation", f.Operation)
	schema, table := splitTable(f.Table)
	c.text("schema_name = {schema:String}", "schema", schema)
	c.text("table_name = {table:String}", "table", table)
	c.text("has(changed, {column:String})", "column", f.Column)
	c.text("reason_code = {reason:String}", "reason", f.Reason)
	if f.NoReason {
		c.parts = append(c.parts, "table_name IS NOT NULL AND operation NOT IN ('baseline', 'event') AND ifNull(reason_code, '') = '' AND ifNull(reason_note, '') = ''")
	}
	if !f.Since.IsZero() {
		c.add("timestamp >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')", "since", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		c.add("timestamp < fromUnixTimestamp64Micro({until:Int64}, 'UTC')", "until", f.Until.UnixMicro())
	}
	if f.From != nil {
		c.add("sequence >= {from:UInt64}", "from", *f.From)
	}
	return c
}

// query asks for the newest entries up to the limit, and turns them round when
// they are wanted oldest first. Within a stream the sequence is the order of
// commits; several streams are merged by time.
func (f Filter) query() query {
	c := f.conditions()
	oldest, newest := "timestamp, stream, sequence", "timestamp DESC, stream DESC, sequence DESC"
	if f.Stream != "" {
		oldest, newest = "stream, sequence", "stream DESC, sequence DESC"
	}
	read, order := store.SelectListed, oldest
	if f.Sealed {
		read = store.Select
	}
	if f.Newest {
		order = newest
	}
	// What is asked by neither resource nor actor is read in the order of the
	// chain, which no projection has.
	keyed, settings := f.ResourceType != "" || f.Actor != "", ""
	if !keyed {
		settings = chainOrder
	}
	n := limit(f.Limit, DefaultLimit)
	if n == 0 {
		return query{read(c.all(), "ORDER BY "+order) + settings, c.params}
	}
	c.params = append(c.params, store.Param("limit", n))
	last := "ORDER BY " + newest + " LIMIT {limit:UInt64}"
	switch {
	case f.Sealed && keyed:
		// A projection tells which ones, and the chain has them whole.
		which := "(stream, sequence) IN (SELECT stream, sequence FROM audit_logs" + c.where() + " " + last + ")"
		return query{read(which, "ORDER BY "+order), c.params}
	case f.Newest:
		return query{read(c.all(), last) + settings, c.params}
	}
	return query{"SELECT " + store.SelectList() + " FROM (" + read(c.all(), last) + ") ORDER BY " + oldest + settings, c.params}
}

// chainOrder at its end keeps a query from projections.
const chainOrder = " SETTINGS optimize_use_projections = 0"

// selectOldest asks for all entries that c matches, in the order of commits.
func selectOldest(c conditions) string {
	return store.SelectListed(c.all(), "ORDER BY stream, sequence")
}

// splitTable splits schema.table at the first dot; a name without one is a
// table of any schema. Parts may stand in double quotes, as in SQL.
func splitTable(s string) (schema, table string) {
	if rest, ok := strings.CutPrefix(s, `"`); ok {
		if head, tail, ok := strings.Cut(rest, `".`); ok {
			return head, unquote(tail)
		}
		return "", unquote(s)
	}
	if head, tail, ok := strings.Cut(s, "."); ok {
		return head, unquote(tail)
	}
	return "", s
}

func unquote(s string) string {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
	}
	return s
}
