package pgwitness

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgwitness/pgwitness/cdc"
)

func TestTooMuchLog(t *testing.T) {
	const limit = 1000
	for name, c := range map[string]struct {
		slot  cdc.SlotState
		limit int64
		want  bool
	}{
		"little":                 {cdc.SlotState{CurrentLSN: 5000, Restart: 4900, ConfirmedFlush: 4900, SafeWALSize: -1}, limit, false},
		"half of the limit":      {cdc.SlotState{CurrentLSN: 5000, Restart: 4500, ConfirmedFlush: 4500, SafeWALSize: -1}, limit, true},
		"less than half":         {cdc.SlotState{CurrentLSN: 5000, Restart: 4501, ConfirmedFlush: 4501, SafeWALSize: -1}, limit, false},
		"no limit":               {cdc.SlotState{CurrentLSN: 5000, Restart: 1, ConfirmedFlush: 1, SafeWALSize: -1}, 0, false},
		"an open transaction":    {cdc.SlotState{CurrentLSN: 5000, Restart: 4000, ConfirmedFlush: 4900, SafeWALSize: -1}, limit, false},
		"the server allows less": {cdc.SlotState{CurrentLSN: 5000, Restart: 4800, ConfirmedFlush: 4800, SafeWALSize: 100}, limit, true},
		"the server allows more": {cdc.SlotState{CurrentLSN: 5000, Restart: 4800, ConfirmedFlush: 4800, SafeWALSize: 9999}, limit, false},
		"the slot is in danger":  {cdc.SlotState{CurrentLSN: 5000, Restart: 4990, ConfirmedFlush: 4990, SafeWALSize: -5, WALStatus: "unreserved"}, limit, true},
	} {
		if got := tooMuch(c.slot, c.limit); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Waiting for ClickHouse is broken off when the log grows too large meanwhile,
// and not when the sidecar is behind for another reason.
func TestPressureBreaksOffWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pressure
		forever := func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		look := func(tooMuch bool) {
			time.Sleep(time.Second)
			p.look(tooMuch, time.Now())
		}
		p.look(true, time.Now()) // the first look knows nothing of before

		look(true) // nobody waits for ClickHouse
		if err := p.during(t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Fatalf("nobody waited: %v", err)
		}

		done := make(chan error, 1)
		go func() { done <- p.during(t.Context(), forever) }()
		synctest.Wait()
		look(false) // waiting, but the log is short
		select {
		case err := <-done:
			t.Fatalf("broken off: %v", err)
		default:
		}
		look(true)
		if err := <-done; !errors.Is(err, errPressed) {
			t.Fatalf("want errPressed, got %v", err)
		}
		if err := p.during(t.Context(), forever); !errors.Is(err, errPressed) {
			t.Errorf("still pressed: %v", err)
		}
		p.release()
		if err := p.during(t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Errorf("released: %v", err)
		}
	})
}
