package setup

import "fmt"

// MissingTableError says that a table which the configuration names does not
// exist.
type MissingTableError struct {
	Index int // in Config.Tables
	Name  string
}

func (e *MissingTableError) Error() string {
	return fmt.Sprintf("plan setup: the table %s does not exist", e.Name)
}

// Hint is what the operator can do.
func (e *MissingTableError) Hint() string {
	return "correct the name under tables: names are case-sensitive, with schema, such as public.orders or public.*"
}

// missingTable is the first table that is named exactly and does not exist,
// nil when all do. A pattern that matches nothing is no error: tables may come.
func (v *view) missingTable() error {
	for i, t := range v.cfg.Tables {
		p, err := parsePattern(t.Name)
		if err != nil {
			return err
		}
		found := !p.exact
		for _, there := range v.tables {
			found = found || p.matches(there.Schema, there.Name)
		}
		if !found {
			return &MissingTableError{Index: i, Name: t.Name}
		}
	}
	return nil
}
