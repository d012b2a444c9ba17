package test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
)

// Tables that are dropped and made again, renamed, swapped, moved, attached,
// detached and altered: folding the trail gives each as it is, also where DDL gave
// rows other values, of which the log tells nothing: a new baseline does.
func TestFoldEqualsTableThroughDDL(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, harness.Postgres(t), harness.ClickHouse(t))
	for group := range strings.SplitSeq(w.script("odd.sql"), "\n\n") {
		w.pg.Exec(group)
	}
	w.s.sync(time.Minute)
	w.baselined(time.Minute)
	w.s.sync(time.Minute)
	w.steady("after the workload")
	w.checkCounts()
	lost := 0
	for _, v := range w.compare() {
		if !v.exact() {
			t.Errorf("%s: %s", v.name(), v)
		}
		lost += v.lost
	}
	if lost != 2 { // person: a label of its enum; widened: a type
		t.Errorf("%d commands made values unknown", lost)
	}
	w.s.finds(pgwitness.VerifyQuery{Continuity: true, Reconcile: true})
	w.s.stop()
}
