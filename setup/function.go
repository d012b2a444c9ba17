package setup

import (
	"fmt"
	"slices"
	"strings"
)

// function is a function in the schema pgwitness: as the catalog has it, or as
// its file in sql/postgres/install wants it.
type function struct {
	Name          string   `db:"name"`
	Arguments     string   `db:"arguments"`
	Body          string   `db:"body"`
	Language      string   `db:"language"`
	Definer       bool     `db:"definer"`
	Volatility    string   `db:"volatility"`
	Config        []string `db:"config"`
	PublicExecute bool     `db:"public_execute"`
}

// functionFiles are the files of the functions, those first that others call.
func functionFiles() []string {
	return []string{"inner_pad", "outer_pad", "connection_facts",
		"preset_postgrest", "preset_hasura", "preset_postgraphile", "directory", "message", "stamp", "event", "claim", "guard"}
}

// whyFunction says what a function is for.
func whyFunction(name string) string {
	return map[string]string{
		"inner_pad":           "one half of the key, for the functions of pgwitness only",
		"outer_pad":           "the other half of the key",
		"connection_facts":    "what PostgreSQL knows of a connection: database, address, process",
		"preset_postgrest":    "what PostgREST and Supabase say about the user and the request",
		"preset_hasura":       "what Hasura says about the user",
		"preset_postgraphile": "what PostGraphile says about the user",
		"directory":           "who the claimed actor is in the application's own table of users",
		"message":             "the content of a stamp: who, from where and why, with a MAC",
		"stamp":               "the trigger function: writes a stamp when the context of the changes is a new one",
		"event":               "records what is not a change of a row; any role may call it",
		"claim":               "what a client says in its session variables, for the guards",
		"guard":               "the trigger function of the guards: refuses what lacks a reason, and records that",
		"describe":            "what a table looks like",
		"lost":                "which values a command changed without a row in the log",
		"follow":              "takes up a new table in the transaction that makes it",
		"ddl":                 "the function of the event triggers: writes what a command created, altered, granted or dropped",
	}[name]
}

// wantedFunction reads what the file of a function wants out of its text.
func (c Config) wantedFunction(name string) (function, error) {
	text, err := statements("install/"+name+".sql", c.presetFill()...)
	if err != nil {
		return function{}, err
	}
	const mark = "$pgwitness$"
	parts := strings.Split(text, mark)
	if len(parts) != 3 {
		return function{}, fmt.Errorf("read statement install/%s.sql: the body is not between two %s", name, mark)
	}
	_, head, _ := strings.Cut(parts[0], "CREATE OR REPLACE FUNCTION")
	f := function{
		Name:          name,
		Body:          parts[1],
		Language:      "plpgsql",
		Volatility:    "v",
		Definer:       strings.Contains(head, "SECURITY DEFINER"),
		PublicExecute: strings.Contains(parts[2], "GRANT EXECUTE"),
	}
	if strings.Contains(head, "LANGUAGE sql") {
		f.Language = "sql"
	}
	switch {
	case strings.Contains(head, "IMMUTABLE"):
		f.Volatility = "i"
	case strings.Contains(head, "STABLE"):
		f.Volatility = "s"
	}
	for line := range strings.Lines(head) {
		if setting, ok := strings.CutPrefix(strings.TrimSpace(line), "SET "); ok {
			f.Config = append(f.Config, strings.ReplaceAll(strings.Replace(setting, " = ", "=", 1), "'", ""))
		}
	}
	return f, nil
}

// same reports whether f does what want does. Arguments are not compared: a
// function with others has another body.
func (f function) same(want function) bool {
	return f.Name == want.Name && f.Body == want.Body && f.Language == want.Language &&
		f.Definer == want.Definer && f.Volatility == want.Volatility &&
		slices.Equal(f.Config, want.Config) && f.PublicExecute == want.PublicExecute
}

// functionState is missing, altered or "" for sound.
func (v *view) functionState(name string) (string, error) {
	want, err := v.cfg.wantedFunction(name)
	if err != nil {
		return "", err
	}
	state := "missing"
	for _, f := range v.functions {
		if f.same(want) {
			return "", nil
		}
		if f.Name == name {
			state = "altered"
		}
	}
	return state, nil
}
