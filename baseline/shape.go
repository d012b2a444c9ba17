package baseline

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
)

//go:embed watched.sql
var watchedSQL string

//go:embed rewrites.sql
var rewritesSQL string

// rewrites is what the event triggers noted.
type rewrites struct {
	watched bool              // they are at work
	last    map[uint32]string // by table: the last transaction that gave its rows other values
}

// rewrites reads when tables were given other values without a row in the log.
// Where event triggers tell that, the shape of a table need not: a column that was
// added with a constant is no reason to read it again.
func (c *session) rewrites(ctx context.Context) (told rewrites, err error) {
	const what = "look for tables that were written anew"
	r, err := c.ask(ctx, what, watchedSQL)
	if err != nil || r.value("readable") != "t" {
		return told, err
	}
	told = rewrites{watched: r.value("watched") == "t", last: make(map[uint32]string)}
	if r, err = c.ask(ctx, what, rewritesSQL); err != nil {
		return told, err
	}
	for i := range r.rows {
		id, err := strconv.ParseUint(r.at(i, "id"), 10, 32)
		if err != nil {
			return told, fmt.Errorf("%s: %w", what, err)
		}
		told.last[uint32(id)] = r.at(i, "rewritten")
	}
	return told, nil
}

// outdated reports whether the rows of t may have other values than when the
// baseline of which s tells began.
func (s *State) outdated(t *table) bool {
	switch {
	case s.Version != t.Version:
		return true // it left the publication and came back
	case t.Rewritten != "" && t.Rewritten != s.Rewritten:
		return true
	}
	return !t.Told && s.Shape != "" && s.Shape != t.Shape
}

// begun is the state of t in a phase, of which nothing was read yet.
func (t *table) begun(p Phase) State {
	return State{Table: t.title(), Version: t.Version, Rewritten: t.Rewritten, Shape: t.Shape, Phase: p}
}
