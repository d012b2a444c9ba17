package cdc

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// advancer advances a slot, which nobody reads, to what is durable. The server
// walks through the log for that, which takes a while, so it is done by a
// goroutine, one step at a time. Its methods are called by one goroutine at a
// time.
type advancer struct {
	line *sideline
	slot string

	wanted audit.LSN     // the last position asked for
	done   audit.LSN     // reached, or being walked to
	ended  chan struct{} // closed when the last step has ended; nil: there was none
	cancel context.CancelFunc

	mu     sync.Mutex
	failed error // of the last step
}

// to begins a step to durable, unless one is under way: a later call, or close,
// goes further then. It never blocks.
func (a *advancer) to(durable audit.LSN) {
	a.wanted = max(a.wanted, durable)
	if a.wanted <= a.done || !a.idle() {
		return
	}
	a.done = a.wanted
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(context.Background())
	a.ended = make(chan struct{})
	go func(ended chan<- struct{}, to audit.LSN) {
		defer close(ended)
		a.step(ctx, to)
	}(a.ended, a.done)
}

func (a *advancer) idle() bool {
	if a.ended == nil {
		return true
	}
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

// step advances and keeps the error.
func (a *advancer) step(ctx context.Context, to audit.LSN) {
	err := a.line.do(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		return advance(ctx, conn, a.slot, to)
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = err
}

// failure is why the last step did not reach its position.
func (a *advancer) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// close reaches what was asked for last, unless ctx ends before: the rest is
// only delivered again.
func (a *advancer) close(ctx context.Context) error {
	if a.wait(ctx) {
		a.to(a.wanted)
		a.wait(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := a.failure(); err != nil {
		return err
	}
	return a.line.close(ctx)
}

// wait waits for the step under way, and ends it when ctx ends; false says so.
func (a *advancer) wait(ctx context.Context) bool {
	if a.ended == nil {
		return true
	}
	defer a.cancel()
	select {
	case <-a.ended:
		return true
	case <-ctx.Done():
		a.cancel()
		<-a.ended
		return false
	}
}
