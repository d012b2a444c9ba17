package verify

import (
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// What is hashed beside another entry may be wrong: the standard library is asked
// before an entry is called broken.
func TestStandardLibraryHasTheLastWord(t *testing.T) {
	for _, block := range blocksOf(makeTrail(3), 3) {
		var h hashes
		h.of(block)
		for i := range block.Rows() {
			h.lay(i, &h.lanes[0])
			var s seen
			wrong := audit.Hash{1}
			h.lanes[0].judge(&s, wrong, wrong, wrong)
			if !s.sound() || s.idWrong {
				t.Errorf("entry %d: sound %v, id wrong %v", i, s.sound(), s.idWrong)
			}
		}
	}
}

// An entry is judged alike alone and beside any other one.
func TestEntriesBesideOneAnother(t *testing.T) {
	entries := makeTrail(64)
	entries[10].NewValues = audit.T("changed")
	entries[20].Salt[0]++
	entries[31].ID[15]++
	block := blocksOf(entries, len(entries))[0]
	var alone, together hashes
	alone.of(block)
	together.of(block)
	for i := range len(entries) - 1 {
		var both, one [2]seen
		together.look(i, both[:])
		alone.look(i, one[:1])
		alone.look(i+1, one[1:])
		if both != one {
			t.Errorf("entries %d and %d: %+v together, %+v alone", i, i+1, both, one)
		}
		if broken := i == 10 || i == 20 || i == 31; one[0].sound() == broken {
			t.Errorf("entry %d: sound %v", i, one[0].sound())
		}
	}
}
