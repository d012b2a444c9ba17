package setup

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Directory is the application's own table of users, in which the stamps look
// up who the claimed actor is at that moment.
type Directory struct {
	// Table with schema, such as public.users. Empty: none is asked.
	Table string `yaml:"table"`
	// ID is the column that actor ids name; it should be indexed. Default: id.
	ID string `yaml:"id"`
	// Email, Role and Team are columns, or SQL expressions over the row u; names
	// in them need their schemas. Empty: not asked for.
	Email string `yaml:"email"`
	Role  string `yaml:"role"`
	Team  string `yaml:"team"`
}

// Validate returns all problems at once, each with the path of its key.
func (d Directory) Validate() error {
	var problems []error
	add := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf(key+": "+format, args...))
	}
	switch {
	case d.Table == "" && d != (Directory{}):
		add("directory.table", "is missing")
	case d.Table != "":
		if p, err := parsePattern(d.Table); err != nil || !p.exact {
			add("directory.table", "%q is not the name of a table with its schema", d.Table)
		}
		if d.Email+d.Role+d.Team == "" {
			add("directory", "asks for none of email, role, team")
		}
	}
	for _, e := range []struct{ key, text string }{{"email", d.Email}, {"role", d.Role}, {"team", d.Team}} {
		if strings.Contains(e.text, "$pgwitness$") || strings.Contains(e.text, ";") {
			add("directory."+e.key, "is not one SQL expression")
		}
	}
	return errors.Join(problems...)
}

// fill fills the placeholders of the function and of its call.
func (d Directory) fill() []string {
	if d.Table == "" {
		return []string{"{directory}", "NULL"}
	}
	schema, name, _ := strings.Cut(d.Table, ".")
	return []string{
		"{directory}", "pgwitness.directory(presets)",
		"{directory_table}", quoted(schema, name), "{directory_id}", quoted(cmp.Or(d.ID, "id")),
		"{directory_email}", cmp.Or(d.Email, "NULL"), "{directory_role}", cmp.Or(d.Role, "NULL"), "{directory_team}", cmp.Or(d.Team, "NULL"),
	}
}
