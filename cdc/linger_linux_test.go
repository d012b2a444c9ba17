package cdc

import (
	"io"
	"net"
	"syscall"
	"testing"
)

// behindTLS hides the socket the way a *tls.Conn does.
type behindTLS struct{ net.Conn }

func (c behindTLS) NetConn() net.Conn { return c.Conn }

// While a read lingers, nobody is woken for less than is worth it.
func TestLingerIsNotWokenForLittle(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const enough = 1000
	l := newLingerer(behindTLS{conn})
	for round := range 50 {
		l.wakeFor(enough)
		sent := make(chan error, 1)
		go func() {
			var err error
			for n := 0; n < enough && err == nil; n += 100 {
				_, err = server.Write(make([]byte, 100))
			}
			sent <- err
		}()
		b, early := make([]byte, enough), 0
		err := l.raw.Read(func(fd uintptr) bool { // asked at once, and whenever it is woken
			n, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if n < enough && (err == nil || err == syscall.EAGAIN) {
				early++
				return false
			}
			return true
		})
		if err != nil || early > 1 {
			t.Fatalf("round %d: woken %d times too early (%v)", round, early-1, err)
		}
		if n, err := conn.Read(b); err != nil || n != enough {
			t.Fatalf("round %d: %d bytes to read, want %d (%v)", round, n, enough, err)
		}
		l.wakeFor(1)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
