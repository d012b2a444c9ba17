package chain

import (
	"crypto/sha256"
	"math/bits"

	"github.com/pgwitness/pgwitness/audit"
)

// Tree accumulates the RFC 6962 Merkle tree over entry hashes, the leaf index
// being the sequence. It holds one hash per complete subtree: at most 64, for
// any number of leaves. The zero Tree is empty.
type Tree struct {
	size uint64
	edge []audit.Hash // roots of the complete subtrees, largest first
}

// Add appends the leaf of the next sequence.
func (t *Tree) Add(entryHash audit.Hash) {
	h := leaf(entryHash)
	for n := t.size; n&1 == 1; n >>= 1 {
		h = node(t.edge[len(t.edge)-1], h)
		t.edge = t.edge[:len(t.edge)-1]
	}
	t.edge = append(t.edge, h)
	t.size++
}

// Size is the number of leaves added.
func (t *Tree) Size() uint64 { return t.size }

// Root is the Merkle tree hash over all leaves added so far; of no leaves it is
// SHA-256 of the empty string (RFC 6962 §2.1).
func (t *Tree) Root() audit.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	root := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		root = node(t.edge[i], root)
	}
	return root
}

// Root is the Merkle tree hash over hashes, computed recursively as the RFC
// writes it; Tree is the incremental form of the same.
func Root(hashes []audit.Hash) audit.Hash {
	switch n := len(hashes); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaf(hashes[0])
	default:
		k := 1 << (bits.Len(uint(n-1)) - 1) // largest power of two below n
		return node(Root(hashes[:k]), Root(hashes[k:]))
	}
}

func leaf(h audit.Hash) audit.Hash {
	var b [1 + sha256.Size]byte
	b[0] = leafPrefix
	copy(b[1:], h[:])
	return sha256.Sum256(b[:])
}

func node(left, right audit.Hash) audit.Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}
