package enrich

import "strings"

// ActorSource says how the actor of an entry is known.
type ActorSource int

// The sources, most trusted first.
const (
	ActorFromEvent ActorSource = iota
	ActorFromSession
	ActorFromPreset
	ActorFromComment
	ActorFromRow
	ActorFromRule
	ActorObserved // no more than the database user
	ActorUnknown
	actorSources
)

// String is the word for the source, as in attribution; presets and rules
// without their names.
func (s ActorSource) String() string {
	return [actorSources]string{fromEvent, fromSession, "preset", fromComment, fromRow, "rule", fromObserved, fromNone}[s]
}

// ActorSources are all of them.
func ActorSources() []ActorSource {
	var all []ActorSource
	for s := range actorSources {
		all = append(all, s)
	}
	return all
}

func actorSource(from string) ActorSource {
	kind, _, _ := strings.Cut(from, ":")
	for _, s := range ActorSources() {
		if s.String() == kind {
			return s
		}
	}
	return ActorUnknown
}

// Attributed counts the entries whose actor is more than the database user.
func (s Stats) Attributed() uint64 {
	var n uint64
	for source := range ActorObserved {
		n += s.BySource[source]
	}
	return n
}
