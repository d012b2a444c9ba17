package verify

import (
	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// seen is what is remembered of an entry until its neighbours are known.
type seen struct {
	sequence   uint64
	prev, hash audit.Hash // as stored
	content    audit.Hash // SHA-256 of the preimage
	computed   audit.Hash // what content and prev give for hash
	position   audit.Position
	timestamp  int64
	idWrong    bool // the id is not that of the position
}

// sound reports whether the columns are the ones that were sealed.
func (s *seen) sound() bool { return s.computed == s.hash }

// segment is a run of sequences, both ends included, that is checked on its
// own.
type segment struct {
	from, to uint64
	// whole says that nobody checks the entry before from: it must exist, and
	// a report that it is missing is left to this segment.
	whole bool
}

// walker checks one segment. It is shown the entry before and the entry behind
// the segment as well, where there are any, so that a border is judged like any
// other place, and segments can be checked in any order. Owned by one
// goroutine; what it allocates does not depend on the number of entries.
type walker struct {
	segment
	genesis *audit.Hash // nil: unknown
	found   findings
	rows    uint64 // entries seen inside of the segment
	last    seen   // of them
	linked  bool   // the entry before the segment has been seen

	openings openings

	block   *store.Columns // at hand
	entry   audit.Entry    // reused for those that are looked at whole
	special special
	hashes  hashes

	// The entries of one sequence, and those of the sequence seen before it.
	// Each is more than one only in a trail that somebody tampered with.
	now, before []seen
}

// take is given the entries in order of sequence, block by block.
func (w *walker) take(block *store.Columns) error {
	w.block = block
	w.special.find(block)
	w.hashes.of(block)
	var pair [2]seen
	for i := 0; i < block.Rows(); i += len(pair) {
		both := pair[:min(len(pair), block.Rows()-i)]
		w.hashes.look(i, both)
		for k := range both {
			if err := w.takeEntry(i+k, &both[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeEntry takes entry i of the block.
func (w *walker) takeEntry(i int, s *seen) error {
	if w.inside(s.sequence) {
		if err := w.lookWhole(i, s); err != nil {
			return err
		}
	}
	if len(w.now) > 0 && w.now[0].sequence == s.sequence {
		w.now = append(w.now, *s)
		return nil
	}
	w.settle(s)
	w.now, w.before = append(w.before[:0], *s), w.now
	return nil
}

// finish is called behind the last entry.
func (w *walker) finish() {
	w.settle(nil)
	if w.rows == 0 || w.last.sequence < w.to {
		w.found.missing(w.expected(), w.to)
	}
}

// expected is the sequence that the next entry should have.
func (w *walker) expected() uint64 {
	switch {
	case w.rows > 0:
		return w.last.sequence + 1
	case w.whole && !w.linked && w.from > 0:
		return w.from - 1
	}
	return w.from
}

// lookWhole looks at the rest of the few entries that need it: those that are
// not sound, that may hold tokens, or that may declare a gap.
func (w *walker) lookWhole(i int, s *seen) error {
	tokens, gap, sound := w.special.tokensAt(i), w.special.gapAt(i), s.sound()
	if sound && !tokens && !gap {
		return nil
	}
	w.block.Row(i, &w.entry)
	switch {
	case !sound:
		w.found.suspect(&w.entry)
	case gap && declares(&w.entry):
		w.found.declared(&w.entry)
	}
	if !tokens {
		return nil
	}
	return w.openings.take(&w.entry)
}

func (w *walker) inside(sequence uint64) bool { return sequence >= w.from && sequence <= w.to }

// settle judges the entries of one sequence, now that the next one is known;
// next is nil behind the last.
func (w *walker) settle(next *seen) {
	if len(w.now) == 0 {
		return
	}
	sequence := w.now[0].sequence
	if !w.inside(sequence) {
		w.linked = w.linked || sequence+1 == w.from
		return
	}
	if expected := w.expected(); sequence > expected {
		w.found.missing(expected, sequence-1)
	}
	if len(w.now) > 1 {
		w.found.duplicate(w.now)
	}
	for i := range w.now {
		s := &w.now[i]
		if s.sound() {
			w.judgeSound(s, w.predecessor(s))
		} else {
			w.found.unsound(s, w.linkedTo(s), next)
		}
	}
	w.rows += uint64(len(w.now))
	w.last = w.now[0]
}

// predecessor is the entry before s: of several, the one that s is linked to;
// nil when there is none.
func (w *walker) predecessor(s *seen) *seen {
	if len(w.before) == 0 || w.before[0].sequence+1 != s.sequence {
		return nil
	}
	for i := range w.before {
		if w.before[i].hash == s.prev {
			return &w.before[i]
		}
	}
	return &w.before[0]
}

// linkedTo is what the prev_hash of s should be; nil when nobody knows.
func (w *walker) linkedTo(s *seen) *audit.Hash {
	if s.sequence == 0 {
		return w.genesis
	}
	if p := w.predecessor(s); p != nil {
		return &p.hash
	}
	return nil
}

// judgeSound judges how an entry whose own hash is right fits behind its
// predecessor p. The word of a predecessor that is not sound itself is not
// taken: that one has a finding of its own.
func (w *walker) judgeSound(s, p *seen) {
	if s.idWrong {
		w.found.wrongID(s)
	}
	if s.sequence == 0 {
		w.judgeFirst(s)
		return
	}
	if p == nil || !p.sound() {
		return
	}
	if p.hash != s.prev {
		w.found.linkBroken(s, p)
	}
	switch {
	case !s.position.After(p.position):
		w.found.outOfOrder(s, p)
	case s.position.CommitLSN == p.position.CommitLSN && s.position.Ordinal != p.position.Ordinal+1:
		w.found.ordinalHole(s, p.position.Ordinal+1)
	case s.position.CommitLSN != p.position.CommitLSN && s.position.Ordinal != 0:
		w.found.ordinalHole(s, 0)
	}
}

// judgeFirst judges sequence 0. That there must be one genesis is judged once,
// in the verdict.
func (w *walker) judgeFirst(s *seen) {
	if w.genesis != nil && *w.genesis != s.prev {
		w.found.genesisMismatch(s, *w.genesis)
	}
	if s.position.Ordinal != 0 {
		w.found.ordinalHole(s, 0)
	}
}
