package sink_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBaselinesAreThoseSavedLast(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	for _, one := range []struct {
		relation uint32
		state    string
	}{{7, "a"}, {8, "b"}, {7, "c"}} {
		if err := s.SaveBaseline(t.Context(), one.relation, one.state); err != nil {
			t.Fatal(err)
		}
	}
	got, err := tr.sink().Baselines(t.Context())
	if d := cmp.Diff(map[uint32]string{7: "c", 8: "b"}, got); err != nil || d != "" {
		t.Errorf("read back (%v) -want +got:\n%s", err, d)
	}
	if newest, err := s.NewestBaseline(t.Context(), 0); err != nil || newest != 0 {
		t.Errorf("newest entry of none is at %s (%v)", newest, err)
	}
}
