package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
)

// Tables that are dropped and made again, renamed, swapped, moved, attached,
// detached and altered: folding the trail gives each as it is. Only where DDL
// gave rows other values, of which the log tells nothing, may it differ, and
// there it does; once the rows are written again it does not.
func TestFoldEqualsTableThroughDDL(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, harness.Postgres(t), harness.ClickHouse(t))
	for group := range strings.SplitSeq(w.script("odd.sql"), "\n\n") {
		w.pg.Exec(group)
	}
	w.s.sync(time.Minute)
	w.steady("after the workload")
	w.checkCounts()
	var rewritten []string
	for _, v := range w.compare() {
		if v.exact() {
			continue
		}
		if len(v.altered) == 0 {
			t.Errorf("%s: %s", v.name(), v)
		}
		rewritten = append(rewritten, v.name())
		if err := w.again(v.life); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(rewritten)
	if want := []string{"public.person", "public.widened"}; !slices.Equal(rewritten, want) {
		t.Errorf("the fold differs for %v, want %v: what DDL did to their rows is in no log", rewritten, want)
	}
	w.s.sync(time.Minute)
	for _, v := range w.compare() {
		if !v.exact() {
			t.Errorf("%s, all rows written again: %s", v.name(), v)
		}
	}
	w.s.verified()
	w.s.stop()
}
