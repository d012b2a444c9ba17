package pgwitness

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/cdc"
)

// errPressed ends a call to ClickHouse that the audited database cannot wait
// for any longer.
var errPressed = errors.New("the log that the server holds for us grows too large")

// pressure decides when to stop waiting for ClickHouse: when the server has to
// keep too much log for us, and it is ClickHouse that we wait for. That the
// sidecar is behind for another reason, the spool would not cure.
type pressure struct {
	mu      sync.Mutex
	pressed bool
	cancel  context.CancelCauseFunc // of the call under way, nil when there is none
	since   time.Time               // when that call began
	busy    time.Duration           // spent in calls since the last look, without the one under way
	looked  time.Time
}

// mostly is the share of the time between two looks that must have been spent
// waiting for ClickHouse.
const mostly = 0.9

// tooMuch reports whether the log that the server keeps for the slot is half of
// what it may be, and at least half of that is log that we have not
// acknowledged: a transaction that is open for long also holds the log, and the
// spool would not change that. A limit of 0 is none.
func tooMuch(slot cdc.SlotState, limit int64) bool {
	if limit == 0 {
		return false
	}
	allowed := uint64(limit)
	if slot.SafeWALSize >= 0 { // max_slot_wal_keep_size is set
		allowed = min(allowed, slot.Retained()+uint64(slot.SafeWALSize))
	}
	if slot.WALStatus == "unreserved" {
		return true
	}
	return slot.Retained() >= allowed/2 && slot.Lag() >= allowed/4
}

// during runs a call to ClickHouse, which ends with errPressed when it must not
// be waited for. What it was about may have happened all the same.
func (p *pressure) during(ctx context.Context, call func(context.Context) error) error {
	calling, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	if p.pressed {
		p.mu.Unlock()
		return errPressed
	}
	p.cancel, p.since = cancel, time.Now()
	p.mu.Unlock()

	err := call(calling)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy += time.Since(laterOf(p.since, p.looked))
	p.cancel = nil
	if err != nil && ctx.Err() == nil && !errors.Is(err, audit.ErrNeedsHuman) && errors.Is(context.Cause(calling), errPressed) {
		return errPressed
	}
	return err
}

// look is told, time and again, whether the server keeps too much log.
func (p *pressure) look(tooMuch bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	busy, elapsed := p.busy, now.Sub(p.looked)
	if p.cancel != nil {
		busy += now.Sub(laterOf(p.since, p.looked))
	}
	first := p.looked.IsZero()
	p.busy, p.looked = 0, now
	if !tooMuch || first || float64(busy) < mostly*float64(elapsed) {
		return
	}
	p.pressed = true
	if p.cancel != nil {
		p.cancel(errPressed)
	}
}

// release takes note that nobody waits for ClickHouse any more.
func (p *pressure) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pressed = false
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
