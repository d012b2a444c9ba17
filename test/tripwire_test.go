package test

import (
	"bytes"
	"sync"
	"time"
)

// tripwire lies in what the sidecar says to a server. The connection on which
// its text is said first breaks: before the server hears it, or behind the
// server's work and before the sidecar hears the answer.
type tripwire struct {
	text []byte
	// persisted lets the server do its work. It is true from the moment in
	// which the work is done; until then the answer is kept back.
	persisted func() bool
	tripped   chan struct{}

	mu      sync.Mutex
	tail    map[*link][]byte // of what was said, in case the text comes in pieces
	on      *link            // whose connection breaks
	heard   bool             // the server has answered since
	muted   bool             // no further answer comes through
	expects bool             // an answer lies between the text and the work
}

// lay puts a tripwire; one at a time.
func (p *proxy) lay(w *tripwire) *tripwire {
	w.tripped, w.tail = make(chan struct{}), make(map[*link][]byte)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wire = w
	return w
}

func (p *proxy) laid() *tripwire {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wire
}

// said looks at what the sidecar says; false: it does not come through.
func (w *tripwire) said(p *proxy, l *link, b []byte) bool {
	if w == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on == l && w.heard && w.expects && !w.muted {
		w.mute(p, l)
		return true
	}
	if w.on != nil {
		return true
	}
	whole := append(w.tail[l], b...)
	if !bytes.Contains(whole, w.text) {
		w.tail[l] = bytes.Clone(whole[max(0, len(whole)-len(w.text)+1):])
		return true
	}
	w.on = l
	if w.persisted == nil {
		close(w.tripped)
		return false
	}
	if !w.expects {
		w.mute(p, l)
	}
	return true
}

// mute keeps the answer back and breaks the connection when the work is done.
func (w *tripwire) mute(p *proxy, l *link) {
	w.muted = true
	go func() {
		for !w.persisted() {
			wait(5 * time.Millisecond)
		}
		close(w.tripped)
		p.drop(l)
	}()
}

// answered looks at what the server says; false: it does not come through.
func (w *tripwire) answered(l *link) bool {
	if w == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = w.heard || w.on == l
	return w.on != l || !w.muted
}
