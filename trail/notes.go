package trail

import "github.com/pgwitness/pgwitness/audit"

// notes is the column attribution, read: field → source, and what else the
// entry has to say about itself.
type notes struct{ row Row }

func readNotes(text audit.Text) notes {
	row, err := ParseRow(text)
	if err != nil {
		return notes{Row{{"attribution", Value{String, "not readable"}}}}
	}
	return notes{row}
}

// get returns a note, "" when there is none.
func (n notes) get(field string) string {
	if v := n.row.Get(field); v.Kind != Null {
		return v.Text
	}
	return ""
}

// observed returns a fact that PostgreSQL knew and that has no column.
func (n notes) observed(fact string) string {
	row, err := ParseRow(audit.Text(n.get("observed")))
	if err != nil {
		return "" // absent, or not written by us
	}
	return notes{row}.get(fact)
}

// bypassed reports whether no stamp governed the change: the triggers did not
// fire.
func (n notes) bypassed() bool { return n.get("context") == "bypassed" }
