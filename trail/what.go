package trail

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// what tells the act: the verb, the resource and the values.
func (s *sentence) what() {
	e := s.entry
	old, errOld := values(e, e.OldValues)
	now, errNew := values(e, e.NewValues)
	if errNew == nil && s.structure(now) {
		return
	}
	s.act()
	switch {
	case errOld != nil || errNew != nil:
		s.add(" (the recorded values are not readable)")
	case e.Operation.String() == "truncate":
		s.truncated()
	case e.Operation.String() == "refused":
		s.refusal(now)
	case e.Operation.String() == "update":
		s.updated(old, now)
	case e.Operation.String() == "delete":
		s.list(", which had ", s.besidesKey(old))
		s.add(unrecorded(s.notes, "; its other values were not recorded: "))
	default:
		s.list(": ", s.besidesKey(now))
	}
	if depth := s.notes.observed("trigger_depth"); depth == "1" {
		s.add(" (done by a trigger)")
	} else if depth != "" {
		s.add(" (done by triggers, ", name(depth, 10), " deep)")
	}
}

// act tells who did what to which resource, without the values.
func (s *sentence) act() {
	e := s.entry
	action, object := e.Action.String(), s.object()
	if action == "" {
		action = e.Operation.String()
	}
	if e.Operation.String() == "refused" {
		s.paint(red, "was refused")
		s.add(" when trying to ", attempt(s.notes.get("refused_action")), " ", or(object, "something"))
		return
	}
	v := verbOf(action)
	past := v.past
	if op := e.Operation.String(); op == "delete" || op == "truncate" {
		past = s.painted(red, past)
	}
	s.add(past)
	switch {
	case !v.itself:
		s.add(" ", or(object, "something"))
	case object != "":
		s.add(" (", object, ")")
	}
	s.add(v.after)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// values reads old_values or new_values. Those of an event may be any JSON.
func values(e *audit.Entry, text audit.Text) (Row, error) {
	row, err := ParseRow(text)
	if err != nil && e.TableName == nil && json.Valid(text) {
		return Row{{"details", Value{JSON, string(text)}}}, nil
	}
	return row, err
}

// unrecorded gives the reason why old values are not there, if so.
func unrecorded(n notes, lead string) string {
	reason, ok := strings.CutPrefix(n.get("old_values"), "unknown: ")
	if !ok {
		return ""
	}
	return lead + escape(reason, 80, false)
}

// object names the resource: order 1234.
func (s *sentence) object() string {
	e := s.entry
	if e.Operation.String() == "truncate" {
		return "the whole table " + table(e)
	}
	kind, id := e.ResourceType.String(), e.ResourceID.String()
	if kind == "" && e.TableName != nil {
		kind = table(e)
	}
	switch {
	case kind == baselineResource:
		return "table " + table(e)
	case id == "" && e.TableName != nil:
		return "a row without key of " + word(kind)
	case kind == "":
		return word(id)
	case id == "":
		return word(kind)
	}
	return word(kind) + " " + word(id)
}

// table is the table of an entry, without the schema that everything is in.
func table(e *audit.Entry) string {
	if s := e.SchemaName.String(); s != "" && s != "public" {
		return word(s + "." + e.TableName.String())
	}
	return word(e.TableName.String())
}

// word is a name of one word; quotes are put around anything else.
func word(s string) string {
	if s == "" || bare(s, 0) {
		return s
	}
	return quote(s, 80)
}

// truncated tells what else the TRUNCATE did.
func (s *sentence) truncated() {
	s.add(" (TRUNCATE")
	if options := s.notes.get("truncate"); options != "" {
		s.add(", ", escape(options, 80, false))
	}
	s.add("; the log does not list the rows it held)")
}

// updated tells an update from what to what. Where the log does not hold the
// old row, nobody knows which columns changed, and the sentence says so.
func (s *sentence) updated(old, now Row) {
	if missing := unrecorded(s.notes, "; previous values were not recorded: "); missing != "" {
		same := func(f Field) bool { return old.Get(f.Name) == f.Value }
		before := func(f Field) bool { return old.Get(f.Name).Known() }
		s.diff(old, without(now, func(f Field) bool { return !before(f) || same(f) }))
		s.list(", which now has ", without(s.besidesKey(now), before))
		s.add(missing)
		return
	}
	if len(s.entry.Changed) == 0 {
		s.add(" without changing any value")
		return
	}
	shown := make(Row, 0, len(s.entry.Changed))
	for _, f := range now {
		if slices.Contains(s.entry.Changed, f.Name) {
			shown = append(shown, f)
		}
	}
	for _, c := range s.entry.Changed {
		if !now.Get(c).Known() {
			shown = append(shown, Field{Name: c})
		}
	}
	s.diff(old, shown)
}

func without(row Row, drop func(Field) bool) Row { return slices.DeleteFunc(slices.Clone(row), drop) }

// diff lists columns as old → new.
func (s *sentence) diff(old, now Row) {
	parts := make([]string, 0, len(now))
	for _, f := range now {
		before, after := pair(old.Get(f.Name), f.Value, s.style.width())
		parts = append(parts, word(f.Name)+" "+s.painted(red, before)+" → "+s.painted(green, after))
	}
	s.join(": ", parts)
}

// list lists columns with one value each, NULLs left out.
func (s *sentence) list(lead string, row Row) {
	parts := make([]string, 0, len(row))
	for _, f := range row {
		if f.Value.Kind != Null {
			parts = append(parts, word(f.Name)+" "+render(f.Value, s.style.width()))
		}
	}
	s.join(lead, parts)
}

// join writes as many parts as the style wants, and how many there are besides.
func (s *sentence) join(lead string, parts []string) {
	if len(parts) == 0 {
		return
	}
	most := s.style.fields()
	rest := 0
	// One more part is never longer than the words "and 1 more field".
	if most > 0 && len(parts) > most+1 {
		rest = len(parts) - most
		parts = parts[:most]
	}
	s.add(lead, strings.Join(parts, ", "))
	if rest > 0 {
		s.add(" and ", count(rest, "more field", "more fields"))
	}
}

// besidesKey is a row without the columns that make up its resource_id, which
// the sentence has named already.
func (s *sentence) besidesKey(row Row) Row {
	key := keyOf(row, s.entry.ResourceID.String(), s.entry.Changed)
	return without(row, func(f Field) bool { return slices.Contains(key, f.Name) })
}
