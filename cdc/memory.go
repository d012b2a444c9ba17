package cdc

import (
	"bytes"

	"github.com/pgwitness/pgwitness/audit"
)

// Sizes of the pieces that memory is taken from the heap in, and the weight of
// the parts of a change. A weight is a fixed number, not unsafe.Sizeof: parts
// of a transaction are cut by weight, and must be cut alike by every build.
const (
	chunkBytes    = 128 << 10
	slabValues    = 2048
	slabChanges   = 256
	slabMessages  = 64
	slabTxs       = 64
	slabHold      = 512 << 10 // what the entries of a slab may refer to before the next slab is begun
	changeWeight  = 96
	valueWeight   = 32
	messageWeight = 48
	txWeight      = 64
)

// memory hands out what feeds are made of, cut from larger pieces, so that a
// change costs a fraction of an allocation. What was handed out is never
// written to again and never reused: it belongs to the feed, and the garbage
// collector takes a piece back when the last feed with a share in it is gone. A
// slab keeps alive what all its entries refer to, so it is retired early when
// that is much.
type memory struct {
	chunk    []byte
	values   []audit.Value
	messages []audit.Message
	held     int // bytes that the entries of the slabs refer to
}

// copy returns a copy of b, which the next tuple or message is going to refer
// to.
func (m *memory) copy(b []byte) []byte {
	n := len(b)
	if m.held += n; m.held > slabHold {
		m.values, m.messages, m.held = nil, nil, n
	}
	if n > chunkBytes/4 {
		return bytes.Clone(b)
	}
	if n > len(m.chunk) {
		m.chunk = make([]byte, chunkBytes)
	}
	c := m.chunk[:n:n]
	m.chunk = m.chunk[n:]
	copy(c, b)
	return c
}

// tuple returns n values, all Absent. It is not nil even when n is 0.
func (m *memory) tuple(n int) audit.Tuple {
	if n > len(m.values) || m.values == nil {
		m.values = make([]audit.Value, max(n, slabValues))
	}
	t := m.values[:n:n]
	m.values = m.values[n:]
	return t
}

// message returns an empty message.
func (m *memory) message() *audit.Message {
	if len(m.messages) == 0 {
		m.messages = make([]audit.Message, slabMessages)
	}
	msg := &m.messages[0]
	m.messages = m.messages[1:]
	return msg
}
