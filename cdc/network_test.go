package cdc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// proxy stands between Reader and server, and can fail like a network.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns []net.Conn
	mute  bool // accepts and holds, and forwards nothing
}

// newProxy listens for connections to the server of dsn; config makes it
// terminate TLS. The DSN returned leads through it.
func newProxy(t *testing.T, dsn string, config *tls.Config) (*proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: u.Host}
	u.Host = l.Addr().String()
	q := u.Query()
	q.Set("sslmode", "disable")
	if config != nil {
		p.listener = tls.NewListener(l, config)
		q.Set("sslmode", "require")
		q.Set("sslnegotiation", "direct")
	}
	u.RawQuery = q.Encode()
	t.Cleanup(func() { l.Close(); p.cut() })
	go p.serve()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			return
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go p.forward(client, server)
		go p.forward(server, client)
	}
}

func (p *proxy) forward(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if err != nil {
			to.Close()
			return
		}
		if mute {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil && !errors.Is(err, io.EOF) {
			from.Close()
			return
		}
	}
}

// cut closes all connections; later ones go through.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns, p.mute = nil, false
}

// silence lets connections live and forwards nothing more.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// case18: a cut network is noticed at once, a silent one after the timeout;
// both are tried again.
func TestCase18Network(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE n (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE n")
	p, dsn := newProxy(t, tp.cfg.DSN, nil)
	tp.cfg.DSN, tp.cfg.SilenceTimeout = dsn, 500*time.Millisecond
	tp.start()
	pg.Exec("INSERT INTO n VALUES (1)")
	tp.read.Acknowledge(tp.want("insert n [1]")[0].EndLSN)
	for _, fail := range []func(){p.cut, p.silence} {
		fail()
		if err := tp.failed(); err == nil || errors.Is(err, audit.ErrNeedsHuman) {
			t.Errorf("Run returned %v, want an error after which the caller tries again", err)
		}
		p.cut()
		tp.released()
		tp.run()
		tp.next() // what was delivered and not acknowledged comes again
	}
	tp.txs = nil
	pg.Exec("INSERT INTO n VALUES (2)")
	txs := tp.rewind()
	if got := shorts(txs[len(txs)-1:]); got[0] != "insert n [2]" {
		t.Errorf("got %q", got)
	}
	tp.close() // while the proxy lives
}

// The connection is taken over from pgconn in the middle of a TLS session.
func TestTLS(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE e (id int PRIMARY KEY, v text)")
	tp := newTape(t, pg, "TABLE e")
	_, tp.cfg.DSN = newProxy(t, tp.cfg.DSN, &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, NextProtos: []string{"postgresql"}})
	tp.start()
	pg.Exec("INSERT INTO e SELECT i, repeat('x', i) FROM generate_series(1, 3000) i")
	txs := tp.rewind()
	if len(txs) != 1 || len(txs[0].Changes) != 3000 {
		t.Fatalf("got %d transactions", len(txs))
	}
	for i, c := range txs[0].Changes {
		if len(c.New[1].Data) != i+1 {
			t.Fatalf("row %s has a value of %d bytes", c.New[0].Data, len(c.New[1].Data))
		}
	}
	tp.read.Acknowledge(txs[0].EndLSN)
	tp.close()
	if got := tp.confirmed(); got != txs[0].EndLSN {
		t.Errorf("after Close the slot stands at %s, want %s", got, txs[0].EndLSN)
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
