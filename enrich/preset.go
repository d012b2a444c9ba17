package enrich

import "slices"

// A preset reads the session variables that a framework sets by itself. The
// function pgwitness.preset_<name>() in the audited database picks out of them
// what stands in the stamp, under the names of our fields; so a bearer token or
// a cookie among the headers never reaches the log.
const (
	presetPostgREST    = "postgrest"    // and Supabase: request.jwt.claims, request.headers
	presetHasura       = "hasura"       // hasura.user
	presetPostGraphile = "postgraphile" // jwt.claims.*
)

// Presets are the presets there are, most trusted first.
func Presets() []string { return []string{presetPostgREST, presetHasura, presetPostGraphile} }

// presetInvalid is the member of a preset whose variable is not the JSON that
// the framework writes: its text.
const presetInvalid = "invalid"

// takePresets takes what the configured presets found.
func (a *attribution) takePresets(p *payload) {
	for _, name := range Presets() {
		said := p.Presets[name]
		from := "preset:" + name
		for i := range a.fields {
			a.take(i, said[a.fields[i].name], from)
		}
		a.takeTrace(said["traceparent"], from)
		if text := said[presetInvalid]; text != "" {
			a.flag("invalid_"+name, text)
		}
	}
}

func validPreset(name string) bool { return slices.Contains(Presets(), name) }
