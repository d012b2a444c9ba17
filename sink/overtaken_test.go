package sink_test

import (
	"errors"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sink"
)

// Two sidecars of one stream seal the same entries, and may for a moment both
// write: the one whose connection to the database hangs does not know yet that
// another has taken over. Whoever is slower is told so, and no human is called;
// whatever else is found in the place of his entries still calls one.
func TestTwinIsToldFromAStranger(t *testing.T) {
	for _, c := range []struct {
		name         string
		twin, behind int // entries that the other one stored from the same head, and in another batch behind those
	}{
		{name: "a part of the batch", twin: 4},
		{name: "all but the last", twin: 9},
		{name: "all, and went on", twin: 10, behind: 5},
		{name: "more in one batch", twin: 25},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrail(t)
			quicker, slower := tr.sink(), tr.sink()
			head := insert(t, quicker, genesis(), 7)
			ahead := insert(t, quicker, head, c.twin)
			if c.behind > 0 {
				ahead = insert(t, quicker, ahead, c.behind)
			}
			b, err := slower.Prepare(chain(head, 10, "alice"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = slower.Insert(t.Context(), head, b)
			if !errors.Is(err, sink.ErrOvertaken) || errors.Is(err, audit.ErrNeedsHuman) {
				t.Fatalf("got %v, want %v", err, sink.ErrOvertaken)
			}
			recovered, err := slower.Recover(t.Context())
			if err != nil || recovered != ahead {
				t.Fatalf("recovered %+v, %v, want %+v", recovered, err, ahead)
			}
			tr.mustHold(insert(t, slower, recovered, 3))
		})
	}
}
