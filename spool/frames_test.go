package spool

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// A batch of several frames counts as a whole: a disk that is full within the
// second one leaves nothing of it. A crash there leaves the first one, and what
// comes again goes on behind it.
func TestBatchOfSeveralFrames(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxBytes: frameBytes * 5 / 2, SegmentBytes: 64 << 20})
	_, before := add(t, s, genesis(), 1, "")
	full := s.segments[0].size
	entries, end := next(before, 12, strings.Repeat("x", frameBytes/4))
	if _, err := s.Append(before, all(entries)); !errors.Is(err, ErrFull) {
		t.Fatalf("three frames in a spool for two: %v", err)
	}
	if got, _ := s.End(); got != before || s.segments[0].size != full {
		t.Fatalf("what was refused is spooled up to %d", got.Size)
	}
	if info, err := os.Stat(s.path(1)); err != nil || info.Size() != full {
		t.Errorf("the segment has %d bytes (%v), want %d", info.Size(), err, full)
	}
	s.cfg.MaxBytes = 1 << 30
	if got, err := s.Append(before, all(entries)); err != nil || got != end {
		t.Fatalf("the spool ends at %d (%v), want %d", got.Size, err, end.Size)
	}
	var frames []int
	if _, err := s.Next(100, 1<<30, anyTime, func(e []audit.Entry) error { frames = append(frames, len(e)); return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int{1, 4, 4, 4}, frames); d != "" {
		t.Errorf("frames (-want +got):\n%s", d)
	}

	change(t, s.path(1), func(b []byte) []byte { return b[:len(b)-frameBytes-9] })
	s = reopen(t, s)
	head, ok := s.End()
	if want := uint64(9); !ok || head.Size != want {
		t.Fatalf("after a crash the spool ends at %d, want %d", head.Size, want)
	}
	if _, err := s.Append(head, all(entries[8:])); err != nil {
		t.Fatal(err)
	}
	if got := rest(t, s); len(got) != 13 || got[12].Hash != end.Hash {
		t.Errorf("%d entries, want 13", len(got))
	}
}
