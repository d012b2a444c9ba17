package pgwitness

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/setup"
)

// guardsOf are the guards of a stream with what the tables say about the rows.
func guardsOf(s StreamConfig) []setup.Guard {
	guards := slices.Clone(s.Guards)
	for i := range guards {
		if t := s.table(guards[i].Table); t != nil {
			guards[i].Key = t.Key
		}
	}
	return guards
}

// table is what the configuration says of one table by its exact name; nil: nothing.
func (s StreamConfig) table(name string) *TableConfig {
	i := slices.IndexFunc(s.Tables, func(t TableConfig) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Tables[i]
}

// validateSecrets reports where a secret would get into the trail all the same,
// and actions of guards that the vocabulary does not have.
func (s StreamConfig) validateSecrets() []error {
	var problems []error
	words := append(enrich.Actions(), s.Vocabulary...)
	for i, g := range s.Guards {
		if g.Action != "" && !slices.Contains(words, g.Action) {
			problems = append(problems, fmt.Errorf("guards[%d].action: is %q, which is not in the vocabulary", i, g.Action))
		}
		t := s.table(g.Table)
		for j, column := range g.Show {
			if t != nil && slices.Contains(t.Secret, column) {
				problems = append(problems, fmt.Errorf("guards[%d].show[%d]: %q is a secret column of %s", i, j, column, t.Name))
			}
		}
	}
	for i, t := range s.Tables {
		for j, column := range t.Secret {
			if slices.Contains(t.Key, column) {
				problems = append(problems, fmt.Errorf("tables[%d].secret[%d]: %q is part of the key, which names the row in the trail", i, j, column))
			}
		}
	}
	return problems
}

// guardPlace is the key of the configuration that err is about, "" if it is not
// about a guard.
func guardPlace(err error) string {
	var wrong *setup.GuardError
	if !errors.As(err, &wrong) {
		return ""
	}
	return fmt.Sprintf("guards[%d].%s", wrong.Index, wrong.Key)
}
