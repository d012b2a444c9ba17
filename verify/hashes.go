package verify

import (
	"crypto/sha256"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/verify/sha256x2"
)

// linkPrefix keeps the hash of a link apart from every other SHA-256 of the
// format.
const linkPrefix = 0x02

// appendLink appends what the hash of an entry is taken over: 0x02 || prev || content.
func appendLink(dst []byte, prev, content audit.Hash) []byte {
	return append(append(append(dst, linkPrefix), prev[:]...), content[:]...)
}

// link is SHA256(0x02 || prev || content), the hash of an entry.
func link(prev, content audit.Hash) audit.Hash {
	var b [1 + 2*sha256.Size]byte
	return sha256.Sum256(appendLink(b[:0], prev, content))
}

// hashes computes the hashes of entries, two at a time. It belongs to one
// goroutine; the zero value waits for a block.
type hashes struct {
	block     *store.Columns
	preimages *store.Preimages
	hasher    *sha256x2.Hasher
	lanes     [2]lane
}

// lane is one of two entries that are hashed together. What is hashed is reused
// from entry to entry.
type lane struct {
	e                       store.Stitch
	ids                     audit.EntryIDs
	content, link, idOrigin []byte
}

// of turns to a block, which is lent.
func (h *hashes) of(block *store.Columns) {
	if h.hasher == nil {
		h.hasher = sha256x2.New()
	}
	h.block, h.preimages = block, block.Preimages()
}

// look computes everything that can be said by themselves about one entry or two,
// from entry i of the block on.
func (h *hashes) look(i int, both []seen) {
	a, b := &h.lanes[0], &h.lanes[1]
	h.lay(i, a)
	if len(both) == 2 {
		h.lay(i+1, b)
	} else {
		h.lay(i, b) // beside itself
	}
	var content, linked, id [2]audit.Hash
	content[0], content[1] = h.hasher.Sum(a.content, b.content)
	a.link, b.link = appendLink(a.link[:0], a.e.PrevHash, content[0]), appendLink(b.link[:0], b.e.PrevHash, content[1])
	linked[0], linked[1] = h.hasher.Sum(a.link, b.link)
	id[0], id[1] = h.hasher.Sum(a.idOrigin, b.idOrigin)
	for k := range both {
		h.lanes[k].judge(&both[k], content[k], linked[k], id[k])
	}
}

// lay lays out what can be hashed at once.
func (h *hashes) lay(i int, l *lane) {
	h.block.Stitch(i, &l.e)
	l.content = slices.Grow(h.preimages.Append(l.content[:0], i), sha256x2.Padding)
	l.link = slices.Grow(l.link[:0], 1+2*sha256.Size+sha256x2.Padding)
	l.idOrigin = slices.Grow(l.ids.AppendPreimage(l.idOrigin[:0], l.e.Stream, l.e.Position), sha256x2.Padding)
}

// judge says what was seen. Before it says that something is wrong, the standard
// library has the last word.
func (l *lane) judge(s *seen, content, linked, id audit.Hash) {
	*s = seen{
		sequence: l.e.Sequence, prev: l.e.PrevHash, hash: l.e.Hash, content: content, computed: linked,
		position: l.e.Position, timestamp: l.e.Timestamp,
	}
	if !s.sound() {
		s.content = sha256.Sum256(l.content)
		s.computed = link(s.prev, s.content)
	}
	s.idWrong = l.e.ID != audit.HashedID(l.e.Timestamp, id) &&
		l.e.ID != audit.EntryID(l.e.Stream, l.e.Timestamp, l.e.Position)
}
