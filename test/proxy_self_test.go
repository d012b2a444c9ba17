package test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// echo is a server that says what it hears.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

// The network of the torture does what its faults say, and never more: nothing
// is lost in the middle of a connection that goes on.
func TestProxyFailsLikeANetwork(t *testing.T) {
	p := newProxy(t, echo(t))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	say := func(c net.Conn, text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(c net.Conn, want string, within time.Duration) error {
		got := make([]byte, len(want))
		_ = c.SetReadDeadline(time.Now().Add(within))
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		if string(got) != want {
			t.Errorf("heard %d bytes that were not said", len(got))
		}
		return nil
	}
	c := dial()
	say(c, "one")
	if err := hears(c, "one", time.Minute); err != nil {
		t.Fatal(err)
	}

	p.turn(hole)
	say(c, "two")
	if err := hears(c, "two", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("through a hole: %v", err)
	}
	p.turn(trickle)
	slow := string(bytes.Repeat([]byte("x"), 3*trickleBytes))
	say(c, slow)
	begun := time.Now()
	if err := hears(c, "two"+slow, time.Minute); err != nil || time.Since(begun) < 2*trickleTick {
		t.Errorf("a trickle took %s: %v", time.Since(begun), err)
	}
	p.turn(fair)

	p.halve(true)
	say(c, "three")
	if err := hears(c, "three", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half open: %v", err)
	}
	p.reset()
	if err := hears(c, "three", time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after a reset: %v", err)
	}

	c = dial()
	say(c, "four")
	if err := hears(c, "four", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.cut(rand.New(rand.NewPCG(1, 1)), 4)
	say(c, "fifth and last")
	if err := hears(c, "fifth and last", time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after a cut: %v", err)
	}
}
