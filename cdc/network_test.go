package cdc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/test/network"
)

// proxied stands between Reader and the server of dsn, and returns the DSN that
// leads through it; config makes it the end of TLS.
func proxied(t *testing.T, dsn string, config *tls.Config) (*network.Proxy, string) {
	t.Helper()
	mode := url.Values{"sslmode": {"disable"}}
	var options []func(*network.Proxy)
	if config != nil {
		mode = url.Values{"sslmode": {"require"}, "sslnegotiation": {"direct"}}
		options = append(options, network.TLS(config))
	}
	p := network.New(t, network.Host(t, dsn), options...)
	u, err := url.Parse(p.Through(dsn))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	maps.Copy(q, mode)
	u.RawQuery = q.Encode()
	return p, u.String()
}

// case18: a cut network is noticed at once, a silent one after the timeout;
// both are tried again.
func TestCase18Network(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE n (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE n")
	p, dsn := proxied(t, tp.cfg.DSN, nil)
	tp.cfg.DSN, tp.cfg.SilenceTimeout = dsn, 500*time.Millisecond
	tp.start()
	pg.Exec("INSERT INTO n VALUES (1)")
	tp.read.Acknowledge(tp.want("insert n [1]")[0].EndLSN)
	for _, fail := range []func(){p.Reset, func() { p.Turn(network.Hole) }} {
		fail()
		if err := tp.failed(); err == nil || errors.Is(err, audit.ErrNeedsHuman) {
			t.Errorf("Run returned %v, want an error after which the caller tries again", err)
		}
		p.Reset()
		p.Turn(network.Fair)
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
	_, tp.cfg.DSN = proxied(t, tp.cfg.DSN, &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, NextProtos: []string{"postgresql"}})
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
