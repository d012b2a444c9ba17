package engine

import (
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// User is a user of an embedded ClickHouse. The engine has no place to store what CREATE USER
// makes, so users come from a file that is written at every start.
type User struct {
	// Name is a letter or underscore, then letters, digits, underscores and hyphens.
	Name string
	// Password is made up at the first start and kept in passwords.json when empty.
	Password string
	// Grants are GRANT statements without the TO: "GRANT SELECT ON audit.*", "GRANT auditor".
	Grants []string
	// Settings are the user's defaults, such as "max_memory_usage" or "readonly".
	Settings map[string]string
	// Filters are the user's row policies.
	Filters []RowFilter
}

// RowFilter lets a user see only the rows of a table for which a condition holds.
type RowFilter struct {
	Database, Table string
	// Condition is an SQL expression over the table's columns, such as "actor_type = 'human'".
	Condition string
}

// Role is a named set of grants.
type Role struct {
	Name   string
	Grants []string // as in User
}

// bootstrapUser is whom the engine's own session logs in as, without a password. It may open the
// ports and wait; its profile allows one session, which is taken before the ports open, so that
// nobody else can be this user.
const bootstrapUser = "default"

// reservedNames are the users that are always there.
var reservedNames = []string{bootstrapUser, Admin}

var userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// writeUsers writes the users file and returns every user's password.
func (c *ClickHouse) writeUsers() (map[string]string, error) {
	if err := validateUsers(c.config.Users, c.config.Roles); err != nil {
		return nil, fmt.Errorf("write clickhouse users: %w", err)
	}
	file, err := openSecrets(c.path(passwordsFile))
	if err != nil {
		return nil, err
	}
	passwords := map[string]string{Admin: file.ensure(Admin)}
	for _, user := range c.config.Users {
		passwords[user.Name] = user.Password
		if user.Password == "" {
			passwords[user.Name] = file.ensure(user.Name)
		}
	}
	if err := file.save(); err != nil {
		return nil, err
	}
	text := usersXML(c.config.Users, c.config.Roles, passwords)
	return passwords, writeFile(c.path("users.xml"), text)
}

// validateUsers returns all problems of the names, which become element names in the users file.
func validateUsers(users []User, roles []Role) error {
	var problems []error
	seen := map[string]bool{}
	check := func(kind, name string) {
		switch {
		case !userName.MatchString(name):
			problems = append(problems, fmt.Errorf("%s %q: a name begins with a letter or underscore"+
				" and goes on with letters, digits, underscores and hyphens", kind, name))
		case slices.Contains(reservedNames, name):
			problems = append(problems, fmt.Errorf("%s %q: the name is the engine's own", kind, name))
		case seen[kind+name]:
			problems = append(problems, fmt.Errorf("%s %q: named twice", kind, name))
		}
		seen[kind+name] = true
	}
	for _, user := range users {
		check("user", user.Name)
	}
	for _, role := range roles {
		check("role", role.Name)
	}
	return errors.Join(problems...)
}

// usersXML is the users file in full.
func usersXML(users []User, roles []Role, passwords map[string]string) []byte {
	x := &xmlText{}
	x.open("clickhouse")
	x.open("profiles")
	x.open("default").close()
	x.open("bootstrap").leaf("max_sessions_for_user", "1").close()
	for _, user := range users {
		x.open("of_" + user.Name).settings(user.Settings).close()
	}
	x.close()
	x.open("quotas").open("default").close().close()
	x.open("users")
	x.bootstrap()
	x.admin(passwords[Admin])
	for _, user := range users {
		x.user(user, passwords[user.Name])
	}
	x.close()
	x.open("roles")
	for _, role := range roles {
		x.open(role.Name).grants(role.Grants).close()
	}
	x.close()
	x.close()
	return []byte(x.String())
}

func (x *xmlText) bootstrap() {
	x.open(bootstrapUser)
	x.leaf("password", "")
	x.account("bootstrap")
	x.grants([]string{"GRANT SYSTEM LISTEN ON *.*", "GRANT SELECT ON system.numbers"})
	x.close()
}

func (x *xmlText) admin(password string) {
	x.open(Admin)
	x.leaf("password_sha256_hex", sha256Hex(password))
	x.account("default")
	x.leaf("access_management", "1")
	x.close()
}

func (x *xmlText) user(user User, password string) {
	x.open(user.Name)
	x.leaf("password_sha256_hex", sha256Hex(password))
	x.account("of_" + user.Name)
	x.grants(user.Grants)
	x.filters(user.Filters)
	x.close()
}

// account is what all users have in common.
func (x *xmlText) account(profile string) {
	x.open("networks").leaf("ip", loopback).close()
	x.leaf("profile", profile)
	x.leaf("quota", "default")
}

// grants writes the list even when it is empty: a user without the list may do everything.
func (x *xmlText) grants(statements []string) *xmlText {
	x.open("grants")
	for _, statement := range statements {
		x.leaf("query", statement)
	}
	return x.close()
}

func (x *xmlText) filters(filters []RowFilter) {
	x.open("databases")
	for _, f := range filters {
		x.open(f.Database).open(f.Table).leaf("filter", f.Condition).close().close()
	}
	x.close()
}

func (x *xmlText) settings(settings map[string]string) *xmlText {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		x.leaf(name, settings[name])
	}
	return x
}

func sha256Hex(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// xmlText builds a configuration file, whose element names are data: users, databases, settings.
type xmlText struct {
	strings.Builder
	path []string // the open elements
}

func (x *xmlText) open(name string) *xmlText {
	fmt.Fprintf(x, "%*s<%s>\n", len(x.path), "", name)
	x.path = append(x.path, name)
	return x
}

func (x *xmlText) close() *xmlText {
	last := len(x.path) - 1
	fmt.Fprintf(x, "%*s</%s>\n", last, "", x.path[last])
	x.path = x.path[:last]
	return x
}

func (x *xmlText) leaf(name, value string) *xmlText {
	fmt.Fprintf(x, "%*s<%s>", len(x.path), "", name)
	// A strings.Builder does not fail, so EscapeText does not either.
	_ = xml.EscapeText(x, []byte(value))
	fmt.Fprintf(x, "</%s>\n", name)
	return x
}
