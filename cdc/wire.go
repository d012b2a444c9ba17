package cdc

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	wireBuffer  = 512 << 10     // read in one call, while messages are smaller
	wireHeader  = 5             // type, length
	wireLongest = 1<<30 + 1<<16 // PostgreSQL cannot make a longer message
)

// wire reads messages of the PostgreSQL protocol through one large buffer.
// While pgconn connects, it reads through Read, which never hands out more than
// the message at hand, so that nothing of the replication stream is lost in
// buffers of pgconn; afterwards next takes over at the same place.
type wire struct {
	src  io.Reader
	buf  []byte
	r, w int    // buf[r:w] is read and not yet consumed
	rest int    // for Read: bytes of the message at hand that are still to come
	base []byte // buf, unless a longer message needs another one
	got  int    // bytes read since the last take
}

func newWire(src io.Reader) *wire {
	buf := make([]byte, wireBuffer)
	return &wire{src: src, buf: buf, base: buf}
}

// Read implements io.Reader for pgconn: up to the end of the message at hand.
func (w *wire) Read(p []byte) (int, error) {
	if w.rest == 0 {
		if err := w.fill(wireHeader); err != nil {
			return 0, err
		}
		n, err := w.length()
		if err != nil {
			return 0, err
		}
		w.rest = n
	}
	if w.r == w.w {
		if err := w.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.r:min(w.w, w.r+w.rest)])
	w.r += n
	w.rest -= n
	return n, nil
}

// next returns the next message; body is valid until the following call. After
// a timeout the message is continued where it stopped.
func (w *wire) next() (kind byte, body []byte, err error) {
	if err := w.fill(wireHeader); err != nil {
		return 0, nil, err
	}
	n, err := w.length()
	if err != nil {
		return 0, nil, err
	}
	if err := w.fill(n); err != nil {
		return 0, nil, err
	}
	m := w.buf[w.r : w.r+n]
	w.r += n
	return m[0], m[wireHeader:], nil
}

// more reports whether next can return a message without reading.
func (w *wire) more() bool {
	if w.w-w.r < wireHeader {
		return false
	}
	n, err := w.length()
	return err != nil || w.w-w.r >= n
}

// take returns how many bytes were read since the last take.
func (w *wire) take() int {
	n := w.got
	w.got = 0
	return n
}

// length is that of the whole message at r, whose header is in the buffer.
func (w *wire) length() (int, error) {
	n := int64(binary.BigEndian.Uint32(w.buf[w.r+1:])) + 1
	if n < wireHeader || n > wireLongest {
		return 0, fmt.Errorf("read message %q: a length of %d bytes is impossible", w.buf[w.r], n-1)
	}
	return int(n), nil
}

// fill reads until n bytes from r on are in the buffer.
func (w *wire) fill(n int) error {
	if w.w-w.r >= n {
		return nil
	}
	w.room(n)
	for w.w-w.r < n {
		k, err := w.src.Read(w.buf[w.w:])
		w.w += k
		w.got += k
		if err != nil && w.w-w.r < n {
			return err
		}
	}
	return nil
}

// room makes place for n bytes from r on. A longer message gets a buffer of
// its own, which is left to the garbage collector once it is used up.
func (w *wire) room(n int) {
	unread := w.w - w.r
	switch {
	case n <= len(w.base) && unread <= len(w.base) && len(w.buf) != len(w.base):
		w.move(w.base)
	case w.r+n > len(w.buf) && n <= len(w.buf):
		w.move(w.buf)
	case n > len(w.buf):
		w.move(make([]byte, n))
	case unread == 0:
		w.r, w.w = 0, 0
	}
}

func (w *wire) move(to []byte) {
	n := copy(to, w.buf[w.r:w.w])
	w.buf, w.r, w.w = to, 0, n
}
