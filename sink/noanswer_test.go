package sink_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
)

// A server that shuts down, and ends a query with it, may answer that without
// an error and without a row. It is not taken for "there is none": a stream
// would stop for good, or begin anew.
func TestNothingIsNotTakenForNone(t *testing.T) {
	tr := ownTrail(t)
	s := tr.sink()
	insert(t, s, genesis(), 5)
	g := store.Genesis{Stream: "shop", SystemID: "1", Timeline: 1, Database: "d", Slot: "s", Publication: "p", CreatedAt: start}
	if err := s.CreateGenesis(t.Context(), g, "settings"); err != nil {
		t.Fatal(err)
	}
	if err := s.SavePosition(t.Context(), 77); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveState(t.Context(), sink.State{Since: 3, Timeline: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var reads atomic.Int64
	var readers sync.WaitGroup
	for range 3 {
		k := tr.sink()
		readers.Go(func() {
			for ctx.Err() == nil {
				reads.Add(1)
				if lsn, err := k.LastPosition(ctx); err == nil && lsn != 77 {
					t.Errorf("the position is read as %s", lsn)
				}
				if state, err := k.LastState(ctx); err == nil && state.Since != 3 {
					t.Errorf("the state is read as %+v", state)
				}
				if _, _, found, err := k.Genesis(ctx); err == nil && !found {
					t.Error("the genesis is read as missing")
				}
				if head, err := k.Recover(ctx); err == nil && head.Size != 5 {
					t.Errorf("the head is read as %+v", head)
				}
			}
		})
	}
	for range 3 {
		before := reads.Load()
		tr.eventually("the readers are at it", func() bool { return reads.Load() > before+30 })
		tr.Restart()
	}
	stop()
	readers.Wait()
}
