// Package sha256x2 computes the SHA-256 (FIPS 180-4) of two messages at a time.
//
// The instructions of SHA-256 wait for one another; while those of one message
// wait, those of another can go on, so that two take little longer than one. The
// standard library has no such function.
//
// Where the processor has no such instructions, the standard library does the
// work. A mistake here cannot make a changed entry pass: the hash that an entry is
// compared with was made by the standard library when the entry was sealed. What
// it can do is to make a good entry look changed; so whoever is about to say that
// asks the standard library, and this package never has the last word.
package sha256x2

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Padding is the most that FIPS 180-4 §5.1.1 puts behind a message, in bytes.
const Padding = 1 + 63 + 8

// Hasher hashes. It belongs to one goroutine. The zero value leaves everything to
// the standard library.
type Hasher struct {
	paired bool // this processor can do it here
	states [2]state
}

// New returns a Hasher that does what the processor can.
func New() *Hasher { return &Hasher{paired: supported()} }

// Sum returns the hashes of two messages. What lies behind them, up to their
// capacity, is overwritten; it copies a message that has less than Padding there.
func (h *Hasher) Sum(a, b []byte) (ofA, ofB [sha256.Size]byte) {
	if !h.paired {
		return sha256.Sum256(a), sha256.Sum256(b)
	}
	a, b = pad(a), pad(b)
	h.states = [2]state{initial, initial}
	both := min(len(a), len(b))
	compress(&h.states, &a[0], &b[0], both/sha256.BlockSize)
	ofA, ofB = h.states[0].sum(), h.states[1].sum()
	switch { // what the longer one has more
	case len(a) > both:
		ofA = h.finish(h.states[0], a[both:])
	case len(b) > both:
		ofB = h.finish(h.states[1], b[both:])
	}
	return ofA, ofB
}

// finish hashes the rest of one message, twice.
func (h *Hasher) finish(s state, rest []byte) [sha256.Size]byte {
	h.states = [2]state{s, s}
	compress(&h.states, &rest[0], &rest[0], len(rest)/sha256.BlockSize)
	return h.states[0].sum()
}

// pad appends the padding: one bit, zeros, and the length in bits.
func pad(m []byte) []byte {
	n := len(m)
	m = slices.Grow(m, Padding)[:(n+1+8+sha256.BlockSize-1)/sha256.BlockSize*sha256.BlockSize]
	clear(m[n : len(m)-8])
	m[n] = 0x80
	binary.BigEndian.PutUint64(m[len(m)-8:], uint64(n)*8)
	return m
}

// state is the working variables in the order of the instructions: f e b a h g d c.
type state [8]uint32

// initial is H(0) of FIPS 180-4 §5.3.3.
var initial = state{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

func (s *state) sum() (sum [sha256.Size]byte) {
	binary.BigEndian.PutUint32(sum[0:], s[3])
	binary.BigEndian.PutUint32(sum[4:], s[2])
	binary.BigEndian.PutUint32(sum[8:], s[7])
	binary.BigEndian.PutUint32(sum[12:], s[6])
	binary.BigEndian.PutUint32(sum[16:], s[1])
	binary.BigEndian.PutUint32(sum[20:], s[0])
	binary.BigEndian.PutUint32(sum[24:], s[5])
	binary.BigEndian.PutUint32(sum[28:], s[4])
	return sum
}
