// Package chain seals entries: it gives each one its sequence, its salt, the
// hash of its predecessor and its own hash, and it computes the Merkle tree
// over the sealed hashes. The formats are those of docs/chain-format.md.
//
//	content_hash = SHA256(C)                                   in parallel
//	entry_hash   = SHA256(0x02 || prev_hash || content_hash)   one after the other
//
// It imports the standard library and audit only. It never does I/O, never
// reads a clock and never keeps state between calls: the head goes in, the new
// head comes out.
package chain

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"runtime"
	"strconv"
	"sync"

	"github.com/pgwitness/pgwitness/audit"
)

// Domain separation bytes in front of everything that is hashed a second time.
const (
	leafPrefix = 0x00 // RFC 6962 §2.1
	nodePrefix = 0x01 // RFC 6962 §2.1
	linkPrefix = 0x02
)

// minPerWorker is the number of entries below which a second goroutine costs
// more than it saves (a content hash takes about half a microsecond).
const minPerWorker = 256

// Sealer seals the entries of one stream.
type Sealer struct {
	secret  []byte // key of the salts
	workers int
}

// New returns a Sealer whose salts are taken from secret, the stream secret of
// 32 bytes. Content hashes are computed by up to workers goroutines; zero means
// one per processor.
func New(secret [32]byte, workers int) *Sealer {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Sealer{secret: append([]byte(nil), secret[:]...), workers: workers}
}

// Seal links entries, in order, behind head: it fills Sequence, Salt, PrevHash
// and Hash, and returns the head behind the last of them. Every other field
// must be final: it is hashed.
func (s *Sealer) Seal(head audit.Head, entries []audit.Entry) audit.Head {
	if len(entries) == 0 {
		return head
	}
	for i := range entries {
		entries[i].Sequence = head.Size + uint64(i)
	}
	s.hashContents(entries)
	for i := range entries {
		e := &entries[i]
		e.PrevHash = head.Hash
		e.Hash = Link(e.PrevHash, e.Hash) // Hash held the content hash until here
		head.Hash = e.Hash
	}
	last := &entries[len(entries)-1]
	head.Size = last.Sequence + 1
	head.Position = last.Position()
	head.Timestamp = last.Timestamp
	return head
}

// hashContents leaves the content hash of every entry in its Hash field.
func (s *Sealer) hashContents(entries []audit.Entry) {
	workers := min(s.workers, 1+len(entries)/minPerWorker)
	var wg sync.WaitGroup
	for w := 1; w < workers; w++ {
		part := entries[w*len(entries)/workers : (w+1)*len(entries)/workers]
		wg.Go(func() { s.hashPart(part) })
	}
	s.hashPart(entries[:len(entries)/workers])
	wg.Wait()
}

func (s *Sealer) hashPart(entries []audit.Entry) {
	salts := salter{mac: hmac.New(sha256.New, s.secret)}
	var preimage []byte
	for i := range entries {
		e := &entries[i]
		e.Salt = salts.salt(e.Sequence)
		preimage = audit.AppendPreimage(preimage[:0], e)
		e.Hash = sha256.Sum256(preimage)
	}
}

// salter makes salts; its buffers live with it so that a salt costs no memory.
type salter struct {
	mac    hash.Hash
	digits [20]byte
	sum    [sha256.Size]byte
}

// salt is the first 16 bytes of HMAC-SHA256(stream secret, dec(sequence)).
func (s *salter) salt(sequence uint64) audit.Salt {
	s.mac.Reset()
	s.mac.Write(strconv.AppendUint(s.digits[:0], sequence, 10))
	return audit.Salt(s.mac.Sum(s.sum[:0]))
}

// Content is the content hash of e: SHA-256 over its preimage.
func Content(e *audit.Entry) audit.Hash {
	return sha256.Sum256(audit.AppendPreimage(nil, e))
}

// Link is the entry hash: SHA256(0x02 || prev || content).
func Link(prev, content audit.Hash) audit.Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = linkPrefix
	copy(b[1:], prev[:])
	copy(b[1+sha256.Size:], content[:])
	return sha256.Sum256(b[:])
}
