// Package network is the network between a client and one server, on loopback, that fails the way
// networks do when a test says so:
//
//	p := network.New(t, network.Host(t, pg.DSN()))
//	run(t, p.Through(pg.DSN()))
//	p.Turn(network.Hole)
//
// Like a real one it never loses bytes in the middle of a connection that goes on: it keeps them
// back, or ends the connection.
package network

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy stands between clients and a server.
type Proxy struct {
	listener net.Listener
	first    string // target at the beginning
	dial     func(address string) (net.Conn, error)

	mu      sync.Mutex
	target  string
	links   map[*Link]bool
	weather Weather
	changed chan struct{} // closed when the weather changes
	tap     Tap           // nil: nobody listens
}

// Weather is how the network is for all its connections.
type Weather int

const (
	Fair    Weather = iota
	Hole            // nothing arrives, in neither direction, and nobody is told
	Trickle         // a few hundred bytes a tick
)

const (
	trickleBytes = 512
	trickleTick  = 20 * time.Millisecond
)

// New listens for connections to target, a host and a port, until the test ends.
func New(t testing.TB, target string, options ...func(*Proxy)) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		listener: l, first: target, target: target, links: make(map[*Link]bool), changed: make(chan struct{}),
		dial: func(address string) (net.Conn, error) { return net.Dial("tcp", address) },
	}
	for _, set := range options {
		set(p)
	}
	t.Cleanup(func() { p.listener.Close(); p.Turn(Fair); p.Reset() })
	go p.serve()
	return p
}

// TLS makes the proxy the end of the clients' TLS sessions; the server is spoken to without.
func TLS(config *tls.Config) func(*Proxy) {
	return func(p *Proxy) { p.listener = tls.NewListener(p.listener, config) }
}

// Dialing makes the proxy reach its target by dial, whose connections may change what the server
// says.
func Dialing(dial func(address string) (net.Conn, error)) func(*Proxy) {
	return func(p *Proxy) { p.dial = dial }
}

// Host is the host and the port in a DSN.
func Host(t testing.TB, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Through is a text with DSNs that lead to the target, changed so that they lead through p.
func (p *Proxy) Through(dsn string) string { return strings.ReplaceAll(dsn, p.first, p.Address()) }

// Lead leads later connections elsewhere, as a failover does, and ends the others.
func (p *Proxy) Lead(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Reset()
}

// Turn changes the weather.
func (p *Proxy) Turn(w Weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
	close(p.changed)
	p.changed = make(chan struct{})
}

// Reset ends all connections at once; later ones go through.
func (p *Proxy) Reset() {
	for _, l := range p.all() {
		p.Break(l)
	}
}

// Cut lets a few more bytes through each connection, and then ends it: mostly in the middle of a
// message. What stays quiet ends with Reset.
func (p *Proxy) Cut(random *rand.Rand, most int) {
	for _, l := range p.all() {
		l.mu.Lock()
		l.left = 1 + random.IntN(most)
		l.mu.Unlock()
	}
}

// Halve takes one end of each connection away without a word to the other, as when a host or a
// firewall between them loses its memory. Reset tells it.
func (p *Proxy) Halve(server bool) {
	for _, l := range p.all() {
		l.halve()
		if server {
			l.server.Close()
		} else {
			l.client.Close()
		}
	}
}

// Break ends a connection as a reset.
func (p *Proxy) Break(l *Link) {
	for _, c := range []net.Conn{l.client, l.server} {
		if session, ok := c.(*tls.Conn); ok {
			c = session.NetConn()
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // it may be closed already
		}
	}
	p.end(l)
}

// all lists the connections.
func (p *Proxy) all() []*Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	var links []*Link
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

func (p *Proxy) now() (Weather, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather, p.changed
}
