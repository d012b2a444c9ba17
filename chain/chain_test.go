package chain

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strconv"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// entries makes n unsealed entries that differ.
func entries(n int) []audit.Entry {
	es := make([]audit.Entry, n)
	for i := range es {
		es[i] = audit.Entry{Stream: "t", ResourceID: audit.T(strconv.Itoa(i)), CommitLSN: 7, Ordinal: uint32(i)}
	}
	return es
}

func TestSealLinksEveryEntryToItsPredecessor(t *testing.T) {
	g := Genesis{Stream: "t"}
	es := entries(1000)
	head := New([32]byte{1}, 4).Seal(g.Head(), es)

	prev := g.Hash()
	for i := range es {
		e := &es[i]
		if e.Sequence != uint64(i) {
			t.Fatalf("entry %d has sequence %d", i, e.Sequence)
		}
		mac := hmac.New(sha256.New, append([]byte{1}, make([]byte, 31)...))
		fmt.Fprint(mac, i)
		if string(e.Salt[:]) != string(mac.Sum(nil)[:16]) {
			t.Fatalf("entry %d has another salt than HMAC(secret, sequence)", i)
		}
		if e.PrevHash != prev || e.Hash != Link(prev, Content(e)) {
			t.Fatalf("entry %d is not linked to its predecessor", i)
		}
		prev = e.Hash
	}
	want := audit.Head{Size: 1000, Hash: prev, Position: audit.Position{CommitLSN: 7, Ordinal: 999}}
	if head != want {
		t.Errorf("head is %+v, want %+v", head, want)
	}
}

// However the entries are cut into batches and spread over workers, the bytes
// are the same: a replay after a crash cuts differently.
func TestSealDoesNotDependOnBatching(t *testing.T) {
	g := Genesis{Stream: "t"}
	want := New([32]byte{}, 1).Seal(g.Head(), entries(2000))
	for _, cut := range []int{1, 7, 255, 256, 1999, 2000} {
		es := entries(2000)
		s := New([32]byte{}, 3)
		got := s.Seal(s.Seal(g.Head(), es[:cut]), es[cut:])
		if got != want {
			t.Errorf("cut at %d: head %v, want %v", cut, got.Hash, want.Hash)
		}
	}
}

func TestSealOfNothingIsTheSameHead(t *testing.T) {
	head := audit.Head{Size: 4, Hash: audit.Hash{9}}
	if got := New([32]byte{}, 1).Seal(head, nil); got != head {
		t.Errorf("got %+v", got)
	}
}

// The tree of RFC 6962 grown leaf by leaf equals its recursive definition.
func TestTreeEqualsDefinition(t *testing.T) {
	var tree Tree
	var hashes []audit.Hash
	for n := range 130 {
		if tree.Root() != Root(hashes) {
			t.Fatalf("roots differ at size %d", n)
		}
		h := audit.Hash(sha256.Sum256([]byte{byte(n)}))
		tree.Add(h)
		hashes = append(hashes, h)
	}
}

func BenchmarkSeal(b *testing.B) {
	es := entries(10000)
	for i := range es {
		es[i].NewValues = make(audit.Text, 300)
	}
	s := New([32]byte{}, 1)
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(audit.Head{}, es)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(es)), "ns/entry")
}
