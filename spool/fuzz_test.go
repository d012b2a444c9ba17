package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// What the decoder accepts as a preimage is, encoded again, the same bytes: so
// no two spooled records mean the same entry, and none means another one than
// was hashed.
func FuzzPreimage(f *testing.F) {
	entries, _ := next(genesis(), 3, "some text")
	for i := range entries {
		f.Add(audit.AppendPreimage(nil, &entries[i]))
	}
	f.Add(audit.AppendPreimage(nil, &audit.Entry{Timestamp: -1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parsePreimage(b)
		if err != nil {
			return
		}
		if again := audit.AppendPreimage(nil, &e); !bytes.Equal(again, b) {
			t.Errorf("decoded from\n%q\nencoded as\n%q", b, again)
		}
	})
}

// No payload makes the decoder panic, ask for more memory than it was given, or
// give out an entry that is not linked.
func FuzzEntries(f *testing.F) {
	s := &Spool{stream: "shop", link: link}
	for _, n := range []int{1, 3} {
		entries, _ := next(genesis(), n, "x")
		_, err := s.encode(genesis(), all(entries), func(frame []byte) error {
			f.Add(bytes.Clone(frame[headerSize:]))
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(binary.LittleEndian.AppendUint64([]byte{1, 0, 0, 0}, 1<<63))
	f.Fuzz(func(t *testing.T, payload []byte) {
		prev := genesis().Hash
		_, _ = s.decode(genesis(), payload, func(e *audit.Entry) {
			if link(prev, sha256.Sum256(audit.AppendPreimage(nil, e))) != e.Hash {
				t.Errorf("entry %d is given out and its hash is wrong", e.Sequence)
			}
			prev = e.Hash
		})
	})
}

// Whatever lies in a segment file: Open says yes or no, and what it says yes to
// can be read.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir, small())
	_, head := add(f, s, genesis(), 2, "")
	if err := s.Save(head, 7); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(s.path(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:len(content)-40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		s := New(t.TempDir(), "shop", small(), link)
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, segmentName(1)), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Open(); err != nil {
			return
		}
		defer s.Close()
		end, ok := s.End()
		if n := len(rest(t, s)); ok && uint64(n) != end.Size-s.segments[0].begin.Size {
			t.Errorf("%d entries up to %d", n, end.Size)
		}
	})
}
