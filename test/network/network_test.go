package network

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// echo is a server that says what it hears.
func echo(t *testing.T) string {
	t.Helper()
	address, _ := echoOnce(t)
	return address
}

// echoOnce is echo, and tells when its first connection has ended.
func echoOnce(t *testing.T) (address string, ended chan struct{}) {
	t.Helper()
	ended = make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		var once sync.Once
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c) // how it ends does not matter
				c.Close()
				once.Do(func() { close(ended) })
			}()
		}
	}()
	return l.Addr().String(), ended
}

// client is a connection through a proxy.
type client struct {
	net.Conn
	t *testing.T
}

func dial(t *testing.T, p *Proxy) client {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{c, t}
}

func (c client) says(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// hears returns why nothing came within the time, or what came was cut off.
func (c client) hears(want string, within time.Duration) error {
	c.t.Helper()
	got := make([]byte, len(want))
	_ = c.SetReadDeadline(time.Now().Add(within))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		c.t.Errorf("heard %q, want %q", got, want)
	}
	return nil
}

func (c client) mustHear(want string) {
	c.t.Helper()
	if err := c.hears(want, time.Minute); err != nil {
		c.t.Fatal(err)
	}
}

// mustWait checks that nothing comes, and nobody says why.
func (c client) mustWait(when string) {
	c.t.Helper()
	if err := c.hears("x", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s: %v", when, err)
	}
}

// mustBreak checks that the connection ends before want has come.
func (c client) mustBreak(want, when string) {
	c.t.Helper()
	if err := c.hears(want, time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s: %v", when, err)
	}
}

// A network does what its faults say, and never more: nothing is lost in the
// middle of a connection that goes on.
func TestProxyFailsLikeANetwork(t *testing.T) {
	p := New(t, echo(t))
	c := dial(t, p)
	c.says("one")
	c.mustHear("one")

	p.Turn(Hole)
	c.says("two")
	c.mustWait("through a hole")
	p.Turn(Trickle)
	slow := string(bytes.Repeat([]byte("x"), 3*trickleBytes))
	c.says(slow)
	begun := time.Now()
	c.mustHear("two" + slow)
	if took := time.Since(begun); took < 2*trickleTick {
		t.Errorf("a trickle took %s", took)
	}
	p.Turn(Fair)

	p.Halve(true)
	c.says("three")
	c.mustWait("half open")
	p.Reset()
	c.mustBreak("three", "after a reset")

	c = dial(t, p)
	c.says("four")
	c.mustHear("four")
	p.Cut(rand.New(rand.NewPCG(1, 1)), 4)
	c.says("fifth and last")
	c.mustBreak("fifth and last", "after a cut")

	c = dial(t, p)
	c.says("six")
	c.mustHear("six")
	p.Lead(echo(t))
	c.mustBreak("seven", "led elsewhere")
}

// judge is a tap with one answer for each end.
type judge struct{ said, answered Verdict }

func (j judge) Said(*Link, []byte) Verdict     { return j.said }
func (j judge) Answered(*Link, []byte) Verdict { return j.answered }

func TestTapJudges(t *testing.T) {
	for _, c := range []struct {
		name  string
		tap   judge
		check func(t *testing.T, c client, ended <-chan struct{})
	}{
		{"pass", judge{}, func(t *testing.T, c client, _ <-chan struct{}) { c.mustHear("text") }},
		{"break off", judge{said: BreakOff}, func(t *testing.T, c client, ended <-chan struct{}) {
			c.mustBreak("text", "broken off")
			<-ended
		}},
		{"mute client", judge{said: Mute}, func(t *testing.T, c client, ended <-chan struct{}) {
			c.mustWait("muted")
			c.Close()
			<-ended
		}},
		{"mute server", judge{answered: Mute}, func(t *testing.T, c client, ended <-chan struct{}) {
			c.mustWait("muted")
			c.Close()
			<-ended
		}},
		{"vanish", judge{said: Vanish}, func(t *testing.T, c client, ended <-chan struct{}) {
			c.mustWait("vanished")
			c.Close()
			select {
			case <-ended:
				t.Error("the server was told")
			case <-time.After(50 * time.Millisecond):
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, ended := echoOnce(t)
			p := New(t, address)
			p.Listen(c.tap)
			conn := dial(t, p)
			conn.says("text")
			c.check(t, conn, ended)
		})
	}
}
