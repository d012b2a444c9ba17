package sink_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/network"
)

// breaker is the network between a sink and the engine, which breaks one insert
// in the way it is told to; everything else passes.
type breaker struct {
	*network.Proxy
	t testing.TB

	mu    sync.Mutex
	fault fault         // of the next insert
	on    *network.Link // that carried this insert; nil: none has come yet
	rows  int           // bytes of it that have passed
	lost  bool          // from now on its answer is lost
	// struck is closed when the fault has happened.
	struck chan struct{}
}

// fault is what happens to the next insert.
type fault int

const (
	none       fault = iota
	cutEarly         // the connection breaks before the statement arrives
	cutMiddle        // the connection breaks in the middle of the rows
	freeze           // half of the rows arrive, then nothing; the connection stays
	loseAnswer       // all rows arrive, the answer does not; the connection stays
)

// newBreaker stands in front of the engine of server.
func newBreaker(t testing.TB, server store.Server) *breaker {
	t.Helper()
	b := &breaker{Proxy: network.New(t, server.Addr[0]), t: t}
	b.Listen(b)
	return b
}

// before is server by way of the breaker.
func (b *breaker) before(server store.Server) store.Server {
	server.Addr = []string{b.Address()}
	return server
}

// arm chooses what happens to the next insert.
func (b *breaker) arm(f fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault, b.on, b.rows, b.lost, b.struck = f, nil, 0, false, make(chan struct{})
}

// wait until the fault has happened.
func (b *breaker) wait() {
	b.t.Helper()
	select {
	case <-b.struck:
	case <-time.After(time.Minute):
		b.t.Fatal("the fault did not happen within a minute")
	}
}

// halfway is where the rows of an insert are interrupted, in bytes; the tests
// send more than twice as much.
const halfway = 100_000

// Said looks for the insert and breaks it.
func (b *breaker) Said(l *network.Link, text []byte) network.Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != none && b.on == nil && bytes.Contains(text, []byte(`INSERT INTO "audit_logs"`)) {
		b.on = l
	}
	if b.on != l {
		return network.Pass
	}
	b.rows += len(text)
	switch over := b.rows > halfway; {
	case b.fault == cutEarly, b.fault == cutMiddle && over:
		close(b.struck)
		return network.BreakOff
	case b.fault == freeze && over:
		close(b.struck)
		return network.Vanish // the server keeps waiting for the rest
	case b.fault == loseAnswer && b.rows > 2*halfway && !b.lost: // so that an answer is to the rows
		b.lost = true
		close(b.struck)
	}
	return network.Pass
}

// Answered keeps back what is to be lost.
func (b *breaker) Answered(l *network.Link, _ []byte) network.Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on == l && b.lost {
		return network.Mute
	}
	return network.Pass
}
