package network

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Link is one connection through a Proxy.
type Link struct {
	client, server net.Conn
	done           context.Context // of the connection
	stop           context.CancelFunc

	mu   sync.Mutex
	left int  // bytes until the cut; negative: none is planned
	half bool // one end is gone, and the other was not told
	lost bool // what one end says goes nowhere, and the other will not be told when it is gone
}

// Tap listens to the connections of a Proxy and judges what it hears. Its methods are called by
// several goroutines at once.
type Tap interface {
	// Said judges what a client said, before the server hears it.
	Said(l *Link, b []byte) Verdict
	// Answered judges what the server said, before the client hears it.
	Answered(l *Link, b []byte) Verdict
}

// Verdict is what becomes of what was heard.
type Verdict int

const (
	Pass     Verdict = iota
	Mute             // from here on the other end hears nothing, but is told when this one is gone
	Vanish           // from here on the other end hears nothing, not even that this one is gone
	BreakOff         // the connection breaks before it arrives
)

// Listen makes tap listen instead of the one before; nil: nobody does.
func (p *Proxy) Listen(tap Tap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tap = tap
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.join(client)
	}
}

// join connects to the target. In a hole that takes until the weather is better.
func (p *Proxy) join(client net.Conn) {
	for {
		w, changed := p.now()
		if w != Hole {
			break
		}
		<-changed
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := p.dial(target)
	if err != nil {
		client.Close()
		return
	}
	l := &Link{client: client, server: server, left: -1}
	l.done, l.stop = context.WithCancel(context.Background())
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	go p.carry(l, server, client)
	p.carry(l, client, server)
}

// carry forwards one direction until one end is gone.
func (p *Proxy) carry(l *Link, to, from net.Conn) {
	b := make([]byte, 32<<10)
	verdict := Pass
	for {
		n, err := from.Read(b)
		if n > 0 && verdict == Pass {
			verdict = p.judge(l, from, b[:n])
			l.lose(verdict == Vanish)
		}
		broken := verdict == BreakOff || verdict == Pass && !p.pass(l, to, b[:n])
		if !broken && err == nil {
			continue
		}
		switch {
		case verdict == Vanish, l.halved():
		case !broken && errors.Is(err, io.EOF):
			p.end(l)
		default:
			p.Break(l)
		}
		return
	}
}

// judge asks the tap.
func (p *Proxy) judge(l *Link, from net.Conn, b []byte) Verdict {
	p.mu.Lock()
	tap := p.tap
	p.mu.Unlock()
	switch {
	case tap == nil:
		return Pass
	case from == l.client:
		return tap.Said(l, b)
	}
	return tap.Answered(l, b)
}

// pass writes b, as the weather allows; false when the connection is over.
func (p *Proxy) pass(l *Link, to io.Writer, b []byte) bool {
	for len(b) > 0 {
		w, changed := p.now()
		piece := b
		var tick <-chan time.Time
		switch w {
		case Hole:
			select {
			case <-changed:
				continue
			case <-l.done.Done():
				return false
			}
		case Trickle:
			piece, tick = b[:min(len(b), trickleBytes)], time.After(trickleTick)
		}
		allowed, cut := l.take(len(piece))
		if _, err := to.Write(piece[:allowed]); err != nil && !l.deaf() || cut {
			return false
		}
		b = b[allowed:]
		if tick != nil {
			<-tick
		}
	}
	return true
}

// take says how many of n bytes go through, and whether the connection is cut behind them.
func (l *Link) take(n int) (allowed int, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left < 0 {
		return n, false
	}
	allowed = min(n, l.left)
	l.left -= allowed
	return allowed, l.left == 0
}

func (l *Link) halve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.half = true
}

func (l *Link) halved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.half
}

func (l *Link) lose(lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = l.lost || lost
}

// deaf reports whether an end may be gone that the other end still speaks to.
func (l *Link) deaf() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.half || l.lost
}

// end closes both ends of a connection.
func (p *Proxy) end(l *Link) {
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	l.stop()
	l.client.Close()
	l.server.Close()
}
