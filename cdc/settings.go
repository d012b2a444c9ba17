package cdc

import (
	"maps"
	"slices"
	"strings"
)

// Settings is the text of the session settings that values are rendered under,
// one "name = value" a line, sorted: what the genesis of a chain records.
func Settings() string {
	settings := pinned()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		b.WriteString(name + " = " + settings[name] + "\n")
	}
	return b.String()
}
