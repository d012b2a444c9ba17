package cdc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// wireMessage is a message of the protocol around body.
func wireMessage(kind byte, body ...[]byte) []byte {
	b := slices.Concat(body...)
	return slices.Concat([]byte{kind}, binary.BigEndian.AppendUint32(nil, uint32(len(b)+4)), b)
}

func xlogData(lsn int64, message []byte) []byte {
	return wireMessage('d', []byte{'w'}, be64(lsn), be64(0), be64(0), message)
}

func keepAlive(end int64, wanted byte) []byte {
	return wireMessage('d', []byte{'k'}, be64(end), be64(0), []byte{wanted})
}

// Messages arrive whole however the network cuts them, small and large ones
// mixed, and the buffer of a large one does not stay.
func TestWire(t *testing.T) {
	var all []byte
	var bodies [][]byte
	for i, size := range []int{0, 1, 100, wireBuffer - wireHeader, 7, wireBuffer, 3, 3 * wireBuffer, 0, 50_000} {
		bodies = append(bodies, bytes.Repeat([]byte{byte(i)}, size))
		all = append(all, wireMessage(byte('a'+i), bodies[i])...)
	}
	readers := map[string]func(io.Reader) io.Reader{
		"at once":    func(r io.Reader) io.Reader { return r },
		"half":       iotest.HalfReader,
		"with error": iotest.DataErrReader,
		"pieces":     func(r io.Reader) io.Reader { return pieces{r} },
	}
	for name, reader := range readers {
		w := newWire(reader(bytes.NewReader(all)))
		for i, want := range bodies {
			kind, body, err := w.next()
			if err != nil || kind != byte('a'+i) || !bytes.Equal(body, want) {
				t.Fatalf("%s: message %d: %q of %d bytes, %v", name, i, kind, len(body), err)
			}
		}
		if n, none := w.take(), w.take(); n != len(all) || none != 0 {
			t.Errorf("%s: %d bytes were read, and then %d, want %d and 0", name, n, none, len(all))
		}
		if _, _, err := w.next(); !errors.Is(err, io.EOF) || len(w.buf) != wireBuffer {
			t.Errorf("%s: at the end %v, and a buffer of %d bytes", name, err, len(w.buf))
		}
	}
}

// pieces reads a few bytes at a time, and sometimes none.
type pieces struct{ r io.Reader }

func (p pieces) Read(b []byte) (int, error) {
	return p.r.Read(b[:min(len(b), rand.IntN(70_000))])
}

// While pgconn reads, it never gets anything of the message after the one at
// hand, so that next goes on where it stopped.
func TestWireHandsOver(t *testing.T) {
	first, second := wireMessage('R', []byte("auth")), wireMessage('Z', []byte("I"))
	w := newWire(bytes.NewReader(slices.Concat(first, second, wireMessage('d', []byte("stream")))))
	for _, want := range [][]byte{first, second} {
		got := make([]byte, 0, 100)
		for len(got) < len(want) {
			n, err := w.Read(got[len(got):cap(got)])
			if err != nil {
				t.Fatal(err)
			}
			got = got[:len(got)+n]
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !w.more() {
		t.Error("the next message is in the buffer, and not offered")
	}
	if kind, body, err := w.next(); kind != 'd' || string(body) != "stream" || err != nil {
		t.Errorf("got %q %q %v", kind, body, err)
	}
}

func TestWireRefusesLengths(t *testing.T) {
	for _, length := range []uint32{0, 3, 1<<30 + 1<<17, 1<<32 - 1} {
		w := newWire(bytes.NewReader(append([]byte{'d'}, be32(length)...)))
		if _, _, err := w.next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("length %d: %v", length, err)
		}
		w = newWire(bytes.NewReader(append([]byte{'d'}, be32(length)...)))
		if _, err := w.Read(make([]byte, 100)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("length %d through Read: %v", length, err)
		}
	}
}

// walsender is a server that says what the test lets it say.
type walsender struct {
	net.Conn
	t *testing.T
}

func newStream(t *testing.T, ctx context.Context, silence time.Duration) (*stream, walsender) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); server.Close() })
	s := &stream{socket: socket{conn: conn, wire: newWire(conn)}, silence: silence, log: testLog(t), durable: 0x1234}
	s.watch(ctx)
	return s, walsender{server, t}
}

// say writes to the stream.
func (w walsender) say(messages ...[]byte) {
	w.t.Helper()
	if _, err := w.Write(slices.Concat(messages...)); err != nil {
		w.t.Fatal(err)
	}
}

// status reads one standby status update.
func (w walsender) status() (durable audit.LSN, asked bool) {
	w.t.Helper()
	b := make([]byte, statusMessage)
	if err := w.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.ReadFull(w, b); err != nil {
		w.t.Fatal(err)
	}
	for _, at := range []int{14, 22} {
		if !bytes.Equal(b[6:14], b[at:at+8]) {
			w.t.Errorf("written, flushed and applied differ: %x", b)
		}
	}
	return audit.LSN(binary.BigEndian.Uint64(b[6:])), b[38] == 1
}

func TestStreamFrames(t *testing.T) {
	s, server := newStream(t, t.Context(), time.Minute)
	server.say(wireMessage('S', []byte("TimeZone\x00UTC\x00")), xlogData(0x10, []byte("Bx")), keepAlive(0x20, 1), keepAlive(0x30, 0))
	var got []string
	for range 3 {
		f, err := s.next(t.Context(), time.Now().Add(patience))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %q %s %t", f.lsn, f.message, f.walEnd, f.wanted))
	}
	want := []string{`0/10 "Bx" 0/0 false`, `0/0 "" 0/20 true`, `0/0 "" 0/30 false`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A wait ends at its deadline, and a message that was cut by it goes on after.
func TestStreamDeadline(t *testing.T) {
	s, server := newStream(t, t.Context(), time.Minute)
	message := xlogData(0x10, []byte("Bx"))
	server.say(message[:20])
	f, err := s.next(t.Context(), time.Now().Add(20*time.Millisecond))
	if f.message != nil || f.walEnd != 0 || err != nil {
		t.Fatalf("got %+v, %v, want nothing", f, err)
	}
	server.say(message[20:])
	f, err = s.next(t.Context(), time.Now().Add(patience))
	if string(f.message) != "Bx" || err != nil {
		t.Errorf("got %+v, %v", f, err)
	}
}

// The end of the context ends a wait, whether it comes before it or during it.
func TestStreamInterrupted(t *testing.T) {
	for _, after := range []time.Duration{0, 20 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		s, server := newStream(t, ctx, time.Minute)
		time.AfterFunc(after, cancel)
		begun := time.Now()
		for ctx.Err() == nil {
			if _, err := s.next(ctx, time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("it took %s", took)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.close(t.Context()) }()
		server.say(wireMessage('c'), wireMessage('C', []byte("COPY 0\x00")))
		if err := <-closed; err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// A server that says nothing is asked, and given up when it does not answer.
// Time in which nobody listens does not count.
func TestStreamSilence(t *testing.T) {
	const silence = 800 * time.Millisecond
	s, server := newStream(t, t.Context(), silence)
	next := func() error {
		_, err := s.next(t.Context(), time.Now().Add(silence/4))
		return err
	}
	answered := 0
	for begun := time.Now(); time.Since(begun) < 3*silence; {
		if err := next(); err != nil {
			t.Fatal(err)
		}
		if s.asked {
			if durable, asked := server.status(); durable != 0x1234 || !asked {
				t.Errorf("asked with %s, %t", durable, asked)
			}
			server.say(keepAlive(1, 0))
			if err := next(); err != nil {
				t.Fatal(err)
			}
			answered++
		}
	}
	if answered < 2 {
		t.Errorf("the server was asked %d times", answered)
	}
	<-time.After(2 * silence) // a busy consumer
	if err := next(); err != nil {
		t.Errorf("after a pause: %v", err)
	}
	var err error
	for begun := time.Now(); err == nil && time.Since(begun) < patience; {
		err = next()
	}
	if !errors.Is(err, errSilence) {
		t.Errorf("got %v, want %v", err, errSilence)
	}
}

func errorFields(severity, code, message, routine string) []byte {
	return slices.Concat([]byte("S"), cstr(severity), []byte("C"), cstr(code), []byte("M"), cstr(message), []byte("R"), cstr(routine), []byte{0})
}

// What ends a stream is told apart by codes and routines, which, unlike texts,
// are not translated.
func TestStreamEnds(t *testing.T) {
	tests := map[string]struct {
		said  []byte
		is    error
		human bool
	}{
		"shutdown":            {wireMessage('c'), nil, false},
		"end of command":      {wireMessage('C', []byte("COPY 0\x00")), nil, false},
		"terminated":          {wireMessage('E', errorFields("FATAL", "57P01", "m", "ProcessInterrupts")), nil, false},
		"publication missing": {wireMessage('E', errorFields("FEHLER", "42704", "Publikation fehlt", "get_publication_oid")), nil, true},
		"slot invalidated":    {wireMessage('E', errorFields("ERROR", "55000", "m", "ReplicationSlotAcquire")), ErrSlotLost, true},
		"changes skipped":     {wireMessage('N', errorFields("WARNUNG", "55000", "m", "LoadPublications")), nil, true},
		"unknown frame":       {wireMessage('d', []byte("q")), nil, true},
		"empty frame":         {wireMessage('d'), nil, true},
		"short keep-alive":    {wireMessage('d', []byte("k1234")), nil, true},
		"unknown message":     {wireMessage('?'), nil, false},
		"broken error":        {wireMessage('E', []byte("Sx")), nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, server := newStream(t, t.Context(), time.Minute)
			server.say(wireMessage('N', errorFields("NOTICE", "00000", "harmless", "f")), tt.said)
			_, err := s.next(t.Context(), time.Now().Add(patience))
			if err == nil || errors.Is(err, audit.ErrNeedsHuman) != tt.human || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v", err)
			}
		})
	}
	s, server := newStream(t, t.Context(), time.Minute)
	server.Close()
	if _, err := s.next(t.Context(), time.Now().Add(patience)); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed connection: %v", err)
	}
}

// Close gives up on a server that does not answer when its context ends.
func TestStreamCloseGivesUp(t *testing.T) {
	s, _ := newStream(t, t.Context(), time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.close(ctx); err == nil {
		t.Error("no error although the server did not answer")
	}
}
