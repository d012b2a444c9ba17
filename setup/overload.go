package setup

import (
	"slices"
	"strings"
)

// wantedArguments reads the arguments of a function out of its file, in the form
// of pg_get_function_identity_arguments.
func wantedArguments(name string) (string, error) {
	text, err := statements("install/" + name + ".sql")
	if err != nil {
		return "", err
	}
	_, list, _ := strings.Cut(text, "FUNCTION pgwitness."+name+"(")
	list, _, _ = strings.Cut(list, ") RETURNS")
	var arguments []string
	for part := range strings.SplitSeq(list, ",") {
		declared, _, _ := strings.Cut(strings.Join(strings.Fields(part), " "), " DEFAULT ")
		if declared != "" {
			arguments = append(arguments, declared)
		}
	}
	return strings.Join(arguments, ", "), nil
}

// planOverloads takes away what older versions have left: a function of ours
// with other arguments, beside which a call of the new one would be ambiguous.
// It goes in the transaction that brings the new one, if there is one.
func (p *planner) planOverloads() {
	for _, f := range p.functions {
		if !slices.Contains(functionFiles(), f.Name) {
			continue
		}
		want, err := wantedArguments(f.Name)
		if err != nil && p.err == nil {
			p.err = err
		}
		if f.Arguments == want {
			continue
		}
		drop := "DROP FUNCTION pgwitness." + quoted(f.Name) + "(" + f.Arguments + ");"
		i := slices.IndexFunc(p.steps, func(s Step) bool { return strings.HasPrefix(s.Why, "Function "+f.Name+" (") })
		if i < 0 {
			p.addSQL("Function "+f.Name+" of an older version.", "", drop)
			continue
		}
		p.steps[i].Statements = append(p.steps[i].Statements, drop)
	}
}
