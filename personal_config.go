package pgwitness

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pgwitness/pgwitness/enrich"
)

// hasPersonal reports whether the configuration makes tokens of anything.
func (s StreamConfig) hasPersonal() bool {
	return len(s.Personal.Fields) > 0 || slices.ContainsFunc(s.Tables, func(t TableConfig) bool { return len(t.Personal) > 0 })
}

// validatePersonal returns what is wrong with the personal columns, each problem
// with its key, and where a value would get into the trail all the same.
func (s StreamConfig) validatePersonal() []error {
	var problems []error
	for i, t := range s.Tables {
		at := fmt.Sprintf("tables[%d].", i)
		bad := func(key, format string, args ...any) {
			problems = append(problems, fmt.Errorf("%s%s: %s", at, key, fmt.Sprintf(format, args...)))
		}
		for _, p := range enrich.ValidatePersonal(t.Subject, t.Personal) {
			problems = append(problems, fmt.Errorf("%s%w", at, p))
		}
		for _, says := range []struct{ key, column string }{
			{"actor_column", t.ActorColumn}, {"reason_column", t.ReasonColumn}, {"activity.actor", t.Activity.Actor},
		} {
			if _, ok := t.Personal[says.column]; ok {
				bad(says.key, "%q is a personal column, and what it says would stand in the entry as it is", says.column)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(t.Personal)) {
			for _, whose := range enrich.SubjectColumns(t.Personal[name].Subject) {
				if slices.Contains(t.Secret, whose) {
					bad("personal."+name+".subject", "%q is a secret column", whose)
				}
			}
		}
		for _, whose := range enrich.SubjectColumns(t.Subject) {
			if slices.Contains(t.Secret, whose) {
				bad("subject", "%q is a secret column", whose)
			}
		}
	}
	for i, g := range s.Guards {
		t := s.table(g.Table)
		if t == nil {
			continue
		}
		for j, column := range g.Show {
			if _, ok := t.Personal[column]; ok {
				problems = append(problems, fmt.Errorf("guards[%d].show[%d]: %q is a personal column of %s: what a guard shows gets no token", i, j, column, t.Name))
			}
		}
		for _, column := range t.Key {
			if _, ok := t.Personal[column]; ok {
				problems = append(problems, fmt.Errorf("guards[%d].table: the key of %s has the personal column %q, and a guard writes the key of what it refuses", i, t.Name, column))
			}
		}
	}
	return problems
}

// personalNames lists the columns that must exist for personal values to become
// tokens.
func (t TableConfig) personalNames() []string {
	names := enrich.SubjectColumns(t.Subject)
	for name, c := range t.Personal {
		names = append(append(names, name), enrich.SubjectColumns(c.Subject)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
