package sha256x2

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// Every length up to a few blocks, beside every other: all paddings, and all ways
// in which one message ends before the other.
func TestEveryLength(t *testing.T) {
	paired(t)
	random := rand.NewChaCha8([32]byte{1})
	for n := range 260 {
		for m := range 260 {
			check(t, message(random, n), message(random, m))
		}
	}
	check(t, message(random, 1<<20), message(random, 3))
	check(t, message(random, 1<<20+55), message(random, 1<<20+56))
}

// What has no room for its padding is copied, and left as it is.
func TestWithoutRoom(t *testing.T) {
	whole := []byte("pgwitness keeps what lies behind a message that has no room")
	for n := range len(whole) {
		a := whole[:n:n]
		check(t, a, a)
	}
	if string(whole) != "pgwitness keeps what lies behind a message that has no room" {
		t.Errorf("overwritten: %q", whole)
	}
}

func TestWithoutInstructions(t *testing.T) {
	var h Hasher
	a, b := h.Sum([]byte("abc"), nil)
	if a != sha256.Sum256([]byte("abc")) || b != sha256.Sum256(nil) {
		t.Error("the standard library is not asked")
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte("abc"), []byte(""))
	f.Fuzz(func(t *testing.T, a, b []byte) { check(t, a[:len(a):len(a)], b[:len(b):len(b)]) })
}

func BenchmarkSum(b *testing.B) {
	for _, size := range []int{65, 850} {
		one, other := make([]byte, size, size+Padding), make([]byte, size, size+Padding)
		for name, h := range map[string]*Hasher{"paired": New(), "standard": {}} {
			b.Run(name, func(b *testing.B) {
				b.SetBytes(int64(2 * size))
				for b.Loop() {
					h.Sum(one, other)
				}
			})
		}
	}
}

// paired says what a run on such a machine does not hold.
func paired(t *testing.T) {
	t.Helper()
	if !supported() {
		t.Log("this processor has no instructions for SHA-256: the standard library is tested")
	}
}

func check(t *testing.T, a, b []byte) {
	t.Helper()
	wantA, wantB := sha256.Sum256(a), sha256.Sum256(b)
	if gotA, gotB := New().Sum(a, b); gotA != wantA || gotB != wantB {
		t.Fatalf("%d and %d bytes: %x, %x; want %x, %x", len(a), len(b), gotA, gotB, wantA, wantB)
	}
}

func message(random *rand.ChaCha8, n int) []byte {
	m := make([]byte, n, n+Padding)
	if _, err := random.Read(m); err != nil {
		panic(err)
	}
	return m
}
