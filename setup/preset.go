package setup

import (
	"slices"
	"strings"
)

// presets are the frameworks whose session variables the stamps can carry, and
// these variables.
func presets() map[string][]string {
	return map[string][]string{
		"postgrest":    {"request.jwt.claims", "request.headers"},
		"hasura":       {"hasura.user"},
		"postgraphile": {"jwt.claims.user_id", "jwt.claims.sub", "jwt.claims.person_id", "jwt.claims.email", "jwt.claims.role"},
	}
}

// presetFill fills the placeholders of the functions of the stamps: only what is
// configured is compared and read before each statement.
func (c Config) presetFill() []string {
	var calls []string
	var variables strings.Builder
	for _, name := range c.sortedPresets() {
		calls = append(calls, "pgwitness.preset_"+name+"()")
		for _, variable := range presets()[name] {
			variables.WriteString(",\n        pg_catalog.current_setting('" + variable + "', true)")
		}
	}
	if len(calls) == 0 {
		calls = []string{"NULL"}
	}
	return append(c.Directory.fill(), "{presets}", strings.Join(calls, ", "), "{preset_variables}", variables.String())
}

// sortedPresets are the configured presets, each once, in the order of their
// names: the order in the configuration makes no other function.
func (c Config) sortedPresets() []string {
	return slices.Compact(slices.Sorted(slices.Values(c.Presets)))
}

// presetOf is the preset that the function called name is of.
func presetOf(name string) (preset string, ok bool) { return strings.CutPrefix(name, "preset_") }

// idle reports whether name is the function of a preset, or of a directory, that
// is not configured.
func (c Config) idle(name string) bool {
	if name == "directory" {
		return c.Directory.Table == ""
	}
	preset, ok := presetOf(name)
	return ok && !slices.Contains(c.Presets, preset)
}

// functions are the files of the functions that this configuration needs.
func (c Config) functions() []string { return slices.DeleteFunc(functionFiles(), c.idle) }

// planPresets removes the functions of presets that are no longer configured,
// after the functions that called them were replaced.
func (p *planner) planPresets() {
	for _, f := range p.functions {
		if p.cfg.idle(f.Name) && slices.Contains(functionFiles(), f.Name) {
			p.addSQL("What function "+f.Name+" reads is no longer configured.", "", "DROP FUNCTION pgwitness."+quoted(f.Name)+"("+f.Arguments+");")
		}
	}
}
