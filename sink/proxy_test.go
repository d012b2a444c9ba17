package sink_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/store"
)

// proxy stands between a sink and the engine and breaks one insert in the way
// it is told to; everything else passes.
type proxy struct {
	t      testing.TB
	listen net.Listener
	target string

	mu    sync.Mutex
	fault fault
	conns []net.Conn

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

// newProxy stands in front of the engine of server.
func newProxy(t testing.TB, server store.Server) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listen: l, target: server.Addr[0]}
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		accepting.Wait()
	})
	return p
}

// through is server by way of the proxy.
func (p *proxy) through(server store.Server) store.Server {
	server.Addr = []string{p.listen.Addr().String()}
	return server
}

// arm chooses what happens to the next insert.
func (p *proxy) arm(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.struck = f, make(chan struct{})
}

// wait until the fault has happened.
func (p *proxy) wait() {
	p.t.Helper()
	select {
	case <-p.struck:
	case <-time.After(20 * time.Second):
		p.t.Fatal("the fault did not happen within 20 s")
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close() // some are closed already
	}
	p.conns = nil
}

func (p *proxy) accept() {
	var pipes sync.WaitGroup
	defer pipes.Wait()
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close() // as if the server had refused
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		s := &session{proxy: p, client: client, server: server}
		pipes.Go(s.forth)
		pipes.Go(s.back)
	}
}

// session is one proxied connection.
type session struct {
	*proxy
	client, server net.Conn

	mu    sync.Mutex
	fault fault // of the insert that this connection carries
	rows  int   // bytes of it that have passed
	lost  bool  // from now on nobody hears the server
}

// halfway is where the rows of an insert are interrupted, in bytes; the tests
// send more than twice as much.
const halfway = 100_000

// forth carries what the client says.
func (s *session) forth() {
	defer s.server.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := s.client.Read(buffer)
		if n > 0 && !s.pass(buffer[:n]) {
			return
		}
		if err != nil {
			return
		}
	}
}

// pass sends b to the server, unless the fault says otherwise.
func (s *session) pass(b []byte) bool {
	s.mu.Lock()
	if s.fault == none && bytes.Contains(b, []byte(`INSERT INTO "audit_logs"`)) {
		s.fault = s.take()
	}
	f := s.fault
	if f != none {
		s.rows += len(b)
	}
	over := s.rows > halfway
	s.mu.Unlock()
	switch {
	case f == cutEarly, f == cutMiddle && over:
		_ = s.client.Close()
		close(s.struck)
		return false
	case f == freeze && over:
		close(s.struck)
		_, _ = io.Copy(io.Discard, s.client) // until the client gives up
		<-s.t.Context().Done()               // the server keeps waiting for the rest
		return false
	}
	_, err := s.server.Write(b)
	if f == loseAnswer && s.twice() {
		close(s.struck)
	}
	return err == nil
}

// twice reports, once, that enough rows have passed for the answer to be one
// to them.
func (s *session) twice() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost || s.rows <= 2*halfway {
		return false
	}
	s.lost = true
	return true
}

// take hands the armed fault to one insert.
func (p *proxy) take() fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	p.fault = none
	return f
}

// back carries what the server says, until it is to be lost.
func (s *session) back() {
	defer s.client.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := s.server.Read(buffer)
		s.mu.Lock()
		lost := s.lost
		s.mu.Unlock()
		if n > 0 && !lost {
			if _, err := s.client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
