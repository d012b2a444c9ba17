package demo

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed shop/*.sql
var files embed.FS

//go:embed pgwitness.yaml
var configuration []byte

// Configuration returns the part of a pgwitness configuration that fits this
// shop: tables with their resource names, rules for actors and for actions.
func Configuration() []byte { return append([]byte(nil), configuration...) }

// statement is one SQL statement and what it changes, so that the changes of
// a committed transaction can be counted from its command tags.
type statement struct {
	name    string
	text    string
	table   string // that it changes; "" for none
	trigger string // table that gets one row inserted by a trigger for each row changed; "" for none
	moves   bool   // each updated row moves to another partition: a delete and an insert
}

// statements are those of one file, by name.
type statements struct {
	file   string
	byName map[string]statement
	order  []string // names as they stand in the file
}

// loadStatements reads shop/<file>.sql: statements that each begin with a
// line "-- name: x", followed by lines "-- changes: table", "-- trigger: table"
// or "-- moves: partition"; all other comment lines are for people only, and
// are not sent.
func loadStatements(file string) (statements, error) {
	text, err := files.ReadFile("shop/" + file + ".sql")
	if err != nil {
		return statements{}, fmt.Errorf("read statements of %s: %w", file, err)
	}
	out := statements{file: file, byName: make(map[string]statement)}
	var st statement
	finish := func() {
		if st.name != "" {
			st.text = strings.TrimSuffix(strings.TrimSpace(st.text), ";")
			out.byName[st.name] = st
			out.order = append(out.order, st.name)
		}
	}
	for line := range strings.Lines(string(text)) {
		rest, comment := strings.CutPrefix(line, "-- ")
		key, value, _ := strings.Cut(strings.TrimSpace(rest), ": ")
		switch {
		case !comment:
			st.text += line
		case key == "name":
			finish()
			st = statement{name: value}
		case key == "changes":
			st.table = value
		case key == "trigger":
			st.trigger = value
		case key == "moves":
			st.moves = true
		}
	}
	finish()
	return out, nil
}

// get finds a statement. That one is missing is a mistake in this package,
// and found by the test that does every deed.
func (s statements) get(name string) (statement, error) {
	st, ok := s.byName[name]
	if !ok {
		return statement{}, fmt.Errorf("no statement %s in shop/%s.sql", name, s.file)
	}
	return st, nil
}

// quote makes an SQL literal of s, for the statements that take no parameters.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
