package trail

import (
	"strings"
)

// structure tells what was done to the database itself: DDL, privileges, roles,
// and acts against the auditor. done is false for every other entry.
func (s *sentence) structure(now Row) (done bool) {
	e := s.entry
	text := func(name string) string {
		if v := now.Get(name); v.Kind == String {
			return v.Text
		}
		return ""
	}
	switch action := e.Action.String(); {
	case action == "audit_tampered":
		s.paint(red, "acted against the auditor")
		s.add(": ", escape(text("why"), 200, false))
	case action == "role_changed":
		s.add("found ", databaseObject(e.ResourceType.String(), e.ResourceID.String()), " ", escape(or(text("change"), "changed"), 60, false))
		s.list(", now ", without(now, func(f Field) bool { return f.Name != "after" }))
		return true
	case e.Operation.String() != "ddl":
		return false
	default:
		s.add("ran ", escape(or(text("command"), "a command"), 60, false))
		if object := databaseObject(e.ResourceType.String(), e.ResourceID.String()); object != "" {
			s.add(" on ", object)
		}
	}
	if statement := text("statement"); statement != "" {
		s.add(": ", quote(statement, 3*s.style.width()))
	}
	return true
}

// databaseObject names an object of the database: view public.open_orders.
func databaseObject(kind, id string) string {
	kind = strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(kind, "db"), "."), "_", " ")
	return strings.TrimSpace(escape(kind, 60, false) + " " + escape(id, 120, false))
}
