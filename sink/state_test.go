package sink_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sink"
)

func TestLastStateIsTheOneSavedLast(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	if got, err := s.LastState(t.Context()); err != nil || got != (sink.State{}) {
		t.Errorf("state before the first is %+v (%v)", got, err)
	}
	at := time.UnixMicro(1_764_000_000_123_456).UTC()
	states := []sink.State{
		{Timeline: 1, Configuration: "c1", Publication: `{"a":1}`, CheckedAt: at},
		{Since: 1000, Timeline: 2, Configuration: "c1", Publication: "{}", CheckedAt: at.Add(time.Hour)},
		{Since: 9, Timeline: 1, Configuration: "c2", CheckedAt: at, Catalog: `{"roles":{}}`},
	}
	for _, want := range states {
		if err := s.SaveState(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		got, err := tr.sink().LastState(t.Context())
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("saved and read back (%v) -want +got:\n%s", err, d)
		}
	}
	tr.Exec("OPTIMIZE TABLE " + tr.Database + ".stream_state FINAL")
	if got, err := s.LastState(t.Context()); err != nil || got != states[2] {
		t.Errorf("state after a merge is %+v (%v)", got, err)
	}
}

// Behind a declared gap the log may count from a lower position: what was
// stored before it must not swallow what comes.
func TestCoveringForgetsPositionsBeforeAGap(t *testing.T) {
	head := audit.Head{Size: 5, Position: audit.Position{CommitLSN: 100, Ordinal: 2}}
	f := func(since uint64, p audit.Position, want bool) {
		t.Helper()
		if got := (sink.State{Since: since}).Covering(head).Covers(p); got != want {
			t.Errorf("since %d: covers %s is %t, want %t", since, p, got, want)
		}
	}
	f(0, audit.Position{CommitLSN: 90}, true)
	f(0, audit.Position{CommitLSN: 100, Ordinal: 3}, false)
	f(5, audit.Position{CommitLSN: 90}, false) // nothing stored behind the gap yet
	f(4, audit.Position{CommitLSN: 90}, true)  // entry 4 lies behind the gap
	f(4, audit.Position{CommitLSN: 101}, false)
}
