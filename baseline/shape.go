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

// markRewrites says of each table in list when its rows were given other values
// without a row in the log. Where event triggers tell that, the shape of a table
// is forgotten: a column that was added with a constant is no reason to read it
// again.
func (c *session) markRewrites(ctx context.Context, list []table) error {
	const what = "look for tables that were written anew"
	r, err := c.ask(ctx, what, watchedSQL)
	if err != nil || r.value("readable") != "t" {
		return err
	}
	watched := r.value("watched") == "t"
	if r, err = c.ask(ctx, what, rewritesSQL); err != nil {
		return err
	}
	last := make(map[uint32]string, len(r.rows))
	for i := range r.rows {
		id, err := strconv.ParseUint(r.at(i, "id"), 10, 32)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		last[uint32(id)] = r.at(i, "rewritten")
	}
	for i := range list {
		var known bool
		list[i].Rewritten, known = last[list[i].ID]
		list[i].Told = watched && known
	}
	return nil
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
