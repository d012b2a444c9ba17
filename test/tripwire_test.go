package test

import (
	"bytes"
	"sync"
	"time"

	"github.com/pgwitness/pgwitness/test/network"
)

// tripwire lies in what the sidecar says to a server. The connection on which
// its text is said first breaks: before the server hears it, or behind the
// server's work and before the sidecar hears the answer.
type tripwire struct {
	network *network.Proxy
	text    []byte
	// persisted lets the server do its work. It is true from the moment in
	// which the work is done; until then the answer is kept back.
	persisted func() bool
	tripped   chan struct{}

	mu      sync.Mutex
	tail    map[*network.Link][]byte // of what was said, in case the text comes in pieces
	on      *network.Link            // whose connection breaks
	heard   bool                     // the server has answered since
	muted   bool                     // no further answer comes through
	expects bool                     // an answer lies between the text and the work
}

// lay puts a tripwire on a network; one at a time.
func (w *tripwire) lay(p *network.Proxy) *tripwire {
	w.network, w.tripped, w.tail = p, make(chan struct{}), make(map[*network.Link][]byte)
	p.Listen(w)
	return w
}

// Said looks for the text.
func (w *tripwire) Said(l *network.Link, b []byte) network.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on == l && w.heard && w.expects && !w.muted {
		w.mute(l)
		return network.Pass
	}
	if w.on != nil {
		return network.Pass
	}
	whole := append(w.tail[l], b...)
	if !bytes.Contains(whole, w.text) {
		w.tail[l] = bytes.Clone(whole[max(0, len(whole)-len(w.text)+1):])
		return network.Pass
	}
	w.on = l
	if w.persisted == nil {
		close(w.tripped)
		return network.BreakOff
	}
	if !w.expects {
		w.mute(l)
	}
	return network.Pass
}

// mute keeps the answer back and breaks the connection when the work is done.
func (w *tripwire) mute(l *network.Link) {
	w.muted = true
	go func() {
		for !w.persisted() {
			wait(5 * time.Millisecond)
		}
		close(w.tripped)
		w.network.Break(l)
	}()
}

// Answered keeps the answer to the text back.
func (w *tripwire) Answered(l *network.Link, _ []byte) network.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = w.heard || w.on == l
	if w.on == l && w.muted {
		return network.Mute
	}
	return network.Pass
}
