package verify

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Findings that are listed, per verdict, and entries that are kept to find out
// which two of them were swapped. What goes beyond is counted.
const (
	maxFindings = 100
	maxSuspects = 64
)

// findings collects what is wrong with a segment, and later with the whole.
type findings struct {
	integrity, completeness, openings list
	suspects                          []audit.Entry // whose columns do not give their hash
	gaps                              []Gap         // that entries declare
}

// list is the first findings of a verdict, in order, and the number of all.
type list struct {
	total uint64
	kept  []Finding
}

func (l *list) add(f Finding) {
	l.total++
	if len(l.kept) < maxFindings {
		l.kept = append(l.kept, f)
	}
}

// suspect keeps a copy of an entry that is not sound.
func (f *findings) suspect(e *audit.Entry) {
	if len(f.suspects) < maxSuspects {
		f.suspects = append(f.suspects, store.Clone(e))
	}
}

// unsound says as exactly as the neighbours allow what was altered in an entry
// whose columns do not give its hash.
func (f *findings) unsound(s *seen, linkedTo *audit.Hash, next *seen) {
	g := Finding{Kind: ContentAltered, Sequence: s.sequence, Want: s.hash.String(), Got: s.computed.String()}
	follows := next != nil && next.sequence == s.sequence+1
	switch {
	case linkedTo != nil && *linkedTo != s.prev && link(*linkedTo, s.content) == s.hash:
		g.Kind, g.Want, g.Got = PrevHashAltered, linkedTo.String(), s.prev.String()
		g.What = "prev_hash was altered: with the hash of the preceding entry, the columns give entry_hash"
	case follows && next.prev == s.computed:
		g.Kind, g.Want, g.Got = EntryHashAltered, s.computed.String(), s.hash.String()
		g.What = "entry_hash was altered: the columns give the hash that the next entry is linked to"
	case follows && next.prev == s.hash:
		g.What = "a column was altered: the next entry confirms entry_hash, and the columns do not give it"
	default:
		g.What = "columns and entry_hash do not belong together"
	}
	if g.Kind == ContentAltered && s.idWrong {
		g.What += "; id, timestamp, commit_lsn and ordinal do not belong together either"
	}
	f.integrity.add(g)
}

func (f *findings) linkBroken(s, before *seen) {
	f.integrity.add(Finding{
		Kind: LinkBroken, Sequence: s.sequence, Want: before.hash.String(), Got: s.prev.String(),
		What: fmt.Sprintf("the link between %d and %d is broken: prev_hash is not the entry_hash of the preceding entry", before.sequence, s.sequence),
	})
}

func (f *findings) genesisMismatch(s *seen, genesis audit.Hash) {
	f.integrity.add(Finding{
		Kind: GenesisMismatch, Sequence: 0, Want: genesis.String(), Got: s.prev.String(),
		What: "prev_hash is not the hash of the stored genesis: the chain or the genesis is another one",
	})
}

func (f *findings) missing(from, to uint64) {
	f.completeness.add(missing(from, to))
}

func missing(from, to uint64) Finding {
	what := "the entry is missing"
	if from != to {
		what = fmt.Sprintf("%d entries are missing", to-from+1)
	}
	return Finding{Kind: Missing, Sequence: from, Until: to, What: what}
}

func (f *findings) duplicate(rows []seen) {
	kind := "all alike"
	for i := range rows {
		if rows[i].hash != rows[0].hash || rows[i].content != rows[0].content {
			kind = "not alike"
		}
	}
	f.completeness.add(Finding{
		Kind: Duplicate, Sequence: rows[0].sequence, Want: "1", Got: strconv.Itoa(len(rows)),
		What: fmt.Sprintf("the sequence exists %d times, %s", len(rows), kind),
	})
}

func (f *findings) outOfOrder(s, before *seen) {
	f.completeness.add(Finding{
		Kind: OutOfOrder, Sequence: s.sequence, Want: "after " + before.position.String(), Got: s.position.String(),
		What: "the position in the write-ahead log does not lie behind that of the preceding entry",
	})
}

func (f *findings) ordinalHole(s *seen, want uint32) {
	f.completeness.add(Finding{
		Kind: OrdinalHole, Sequence: s.sequence, Want: audit.Position{CommitLSN: s.position.CommitLSN, Ordinal: want}.String(), Got: s.position.String(),
		What: "a change of the transaction was left out before the chain was sealed",
	})
}

func (f *findings) wrongID(s *seen) {
	f.completeness.add(Finding{
		Kind: WrongID, Sequence: s.sequence, Got: s.position.String(),
		What: "the id is not that of stream, timestamp and log position: not sealed by pgwitness",
	})
}

// merge takes in the findings of the following segment.
func (f *findings) merge(next *findings) {
	f.integrity.merge(next.integrity)
	f.completeness.merge(next.completeness)
	f.openings.merge(next.openings)
	f.suspects = append(f.suspects, next.suspects[:min(len(next.suspects), maxSuspects-len(f.suspects))]...)
	f.gaps = append(f.gaps, next.gaps[:min(len(next.gaps), maxGaps-len(f.gaps))]...)
}

// merge appends l's followers; a missing range that goes on across the border
// becomes one.
func (l *list) merge(next list) {
	l.total += next.total
	kept := next.kept
	if len(kept) > 0 && len(l.kept) > 0 {
		last := &l.kept[len(l.kept)-1]
		if last.Kind == Missing && kept[0].Kind == Missing && last.Until+1 == kept[0].Sequence {
			*last = missing(last.Sequence, kept[0].Until)
			kept = kept[1:]
			l.total--
		}
	}
	l.kept = append(l.kept, kept[:min(len(kept), maxFindings-len(l.kept))]...)
}

// nameSwaps looks among the entries that are not sound for those that are the
// entry of another one's sequence, and says so in their findings.
func (f *findings) nameSwaps() {
	for i := range f.suspects {
		a := &f.suspects[i]
		for j := range f.suspects {
			b := &f.suspects[j]
			if a.Sequence != b.Sequence && isEntryOf(a, b) {
				f.swapped(a.Sequence, b.Sequence)
			}
		}
	}
}

// isEntryOf reports whether the columns of a, its sequence apart, are those
// that were sealed as the sequence of b: with the seal that a carries or with
// the one that b carries.
func isEntryOf(a, b *audit.Entry) bool {
	moved := *a
	moved.Sequence = b.Sequence
	content := audit.Hash(sha256.Sum256(audit.AppendPreimage(nil, &moved)))
	return link(a.PrevHash, content) == a.Hash || link(b.PrevHash, content) == b.Hash
}

func (f *findings) swapped(sequence, with uint64) {
	i := slices.IndexFunc(f.integrity.kept, func(g Finding) bool { return g.Sequence == sequence })
	if i < 0 {
		return
	}
	f.integrity.kept[i].Kind = Swapped
	f.integrity.kept[i].What = fmt.Sprintf("rows were swapped: this is the entry that was sealed as sequence %d", with)
}
