package test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy is the network between the sidecar and one server, on loopback, that
// can fail the way networks do. Like a real one it never loses bytes in the
// middle of a connection: it keeps them back, or ends the connection.
type proxy struct {
	listener net.Listener
	first    string // target at the beginning

	mu      sync.Mutex
	target  string
	links   map[*link]bool
	weather weather
	changed chan struct{} // closed when the weather changes
	wire    *tripwire     // nil: none is laid
}

// weather is how the network is for all its connections.
type weather int

const (
	fair    weather = iota
	hole            // nothing arrives, in neither direction, and nobody is told
	trickle         // a few hundred bytes a tick
)

const (
	trickleBytes = 512
	trickleTick  = 20 * time.Millisecond
)

// newProxy listens for connections to target until the test ends.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, first: target, target: target, links: make(map[*link]bool), changed: make(chan struct{})}
	t.Cleanup(func() { l.Close(); p.turn(fair); p.reset() })
	go p.serve()
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// through is a DSN that leads to the target, changed so that it leads through p.
func (p *proxy) through(dsn string) string { return strings.ReplaceAll(dsn, p.first, p.address()) }

// lead leads later connections elsewhere, as a failover does, and ends the others.
func (p *proxy) lead(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.reset()
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	done           context.Context // of the connection
	end            context.CancelFunc

	mu   sync.Mutex
	left int  // bytes until the cut; negative: none is planned
	half bool // one end is gone, and the other was not told
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.join(client)
	}
}

// join connects to the target. In a hole that takes until the weather is
// better.
func (p *proxy) join(client net.Conn) {
	for {
		w, changed := p.now()
		if w != hole {
			break
		}
		<-changed
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server, left: -1}
	l.done, l.end = context.WithCancel(context.Background())
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	go p.carry(l, server, client)
	p.carry(l, client, server)
}

// carry forwards one direction until one end is gone.
func (p *proxy) carry(l *link, to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if from == l.client && !p.laid().said(p, l, b[:n]) {
			break
		}
		if from == l.server && !p.laid().answered(l) {
			if err != nil {
				break
			}
			continue
		}
		if !p.pass(l, to, b[:n]) || err != nil {
			break
		}
	}
	if !l.halved() {
		p.drop(l)
	}
}

// pass writes b, as the weather allows; false when the connection is over.
func (p *proxy) pass(l *link, to io.Writer, b []byte) bool {
	for len(b) > 0 {
		w, changed := p.now()
		var tick <-chan time.Time
		switch w {
		case hole:
			select {
			case <-changed:
				continue
			case <-l.done.Done():
				return false
			}
		case trickle:
			tick = time.After(trickleTick)
		}
		piece := b
		if w == trickle {
			piece = b[:min(len(b), trickleBytes)]
		}
		allowed, cut := l.take(len(piece))
		if _, err := to.Write(piece[:allowed]); err != nil && !l.halved() || cut {
			return false
		}
		b = b[allowed:]
		if tick != nil {
			<-tick
		}
	}
	return true
}

// take says how many of n bytes go through, and whether the connection is cut
// behind them.
func (l *link) take(n int) (allowed int, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left < 0 {
		return n, false
	}
	allowed = min(n, l.left)
	l.left -= allowed
	return allowed, l.left == 0
}

func (l *link) halved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.half
}

func (p *proxy) now() (weather, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather, p.changed
}

// turn changes the weather.
func (p *proxy) turn(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
	close(p.changed)
	p.changed = make(chan struct{})
}

// drop ends a connection as a reset.
func (p *proxy) drop(l *link) {
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	l.end()
	for _, c := range []net.Conn{l.client, l.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // it may be closed already
		}
		c.Close()
	}
}

// all lists the connections.
func (p *proxy) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	var links []*link
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

// reset ends all connections at once; later ones go through.
func (p *proxy) reset() {
	for _, l := range p.all() {
		p.drop(l)
	}
}

// cut lets a few more bytes through each connection, and then ends it: mostly
// in the middle of a message. What stays quiet ends with reset.
func (p *proxy) cut(random *rand.Rand, most int) {
	for _, l := range p.all() {
		l.mu.Lock()
		l.left = 1 + random.IntN(most)
		l.mu.Unlock()
	}
}

// halve takes one end of each connection away without a word to the other, as
// when a host or a firewall between them loses its memory. Reset tells it.
func (p *proxy) halve(server bool) {
	for _, l := range p.all() {
		l.mu.Lock()
		l.half = true
		l.mu.Unlock()
		if server {
			l.server.Close()
		} else {
			l.client.Close()
		}
	}
}
