package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// link is that of docs/chain-format.md.
func link(prev, content audit.Hash) audit.Hash {
	return sha256.Sum256(append(append([]byte{2}, prev[:]...), content[:]...))
}

// next makes n linked entries behind head, with NULLs, empty strings and bytes
// that are not text.
func next(head audit.Head, n int, pad string) ([]audit.Entry, audit.Head) {
	var entries []audit.Entry
	for range n {
		e := audit.Entry{
			Stream: "shop", Sequence: head.Size, Timestamp: 1_770_000_000_000_000 + int64(head.Size),
			ActorID: audit.T("alice"), ActorEmail: audit.Text{}, ResourceID: audit.T(fmt.Sprint(head.Size)),
			NewValues: audit.T(`{"note":"` + pad + `"}`), ReasonNote: audit.Text{0xff, 0, ','}, Changed: []string{"", "a,b", "c"},
			XID: 7, CommitLSN: audit.LSN(1000 + head.Size), Ordinal: uint32(head.Size % 3), PrevHash: head.Hash,
		}
		e.ID = audit.EntryID(e.Stream, e.Timestamp, e.Position())
		e.Hash = link(head.Hash, sha256.Sum256(audit.AppendPreimage(nil, &e)))
		head = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
		entries = append(entries, e)
	}
	return entries, head
}

func all(entries []audit.Entry) iter.Seq[*audit.Entry] {
	return func(yield func(*audit.Entry) bool) {
		for i := range entries {
			if !yield(&entries[i]) {
				return
			}
		}
	}
}

func anyTime(a, b int64) bool { return true }

// small is a configuration whose segments hold a few frames.
func small() Config { return Config{MaxBytes: 1 << 20, SegmentBytes: 4 << 10} }

func open(t testing.TB, dir string, cfg Config) *Spool {
	t.Helper()
	s := New(dir, "shop", cfg, link)
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func reopen(t testing.TB, s *Spool) *Spool {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, filepath.Dir(filepath.Dir(s.dir)), s.cfg)
}

func add(t testing.TB, s *Spool, head audit.Head, n int, pad string) ([]audit.Entry, audit.Head) {
	t.Helper()
	entries, end := next(head, n, pad)
	got, err := s.Append(head, all(entries))
	if err != nil {
		t.Fatal(err)
	}
	if got != end {
		t.Fatalf("the spool ends at %+v, want %+v", got, end)
	}
	return entries, end
}

// take is what one call of Next gives out.
func take(s *Spool, rows, bytes int, together func(a, b int64) bool) (out []audit.Entry, err error) {
	n, err := s.Next(rows, bytes, together, func(entries []audit.Entry) error {
		out = append(out, entries...)
		return nil
	})
	if n != len(out) {
		err = errors.Join(err, fmt.Errorf("%d entries were given out, it says %d", len(out), n))
	}
	return out, err
}

// rest is everything that Next gives out.
func rest(t testing.TB, s *Spool) []audit.Entry {
	t.Helper()
	var out []audit.Entry
	for {
		entries, err := take(s, 7, 1<<20, anyTime)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return out
		}
		out = append(out, entries...)
	}
}

func segments(t testing.TB, s *Spool) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// genesis is the head of an empty chain.
func genesis() audit.Head { return audit.Head{Hash: audit.Hash{1, 2, 3}} }

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	s := open(t, t.TempDir(), small())
	if _, ok := s.End(); ok {
		t.Fatal("a new spool has an end")
	}
	head := genesis()
	var want []audit.Entry
	for i := range 40 {
		var entries []audit.Entry
		entries, head = add(t, s, head, 1+i%5, strings.Repeat("x", 100*i))
		want = append(want, entries...)
		if err := s.Save(head, audit.LSN(5000+i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(segments(t, s)); n < 5 {
		t.Errorf("%d segments, want several", n)
	}
	for _, s := range []*Spool{s, reopen(t, s)} {
		if d := cmp.Diff(want, rest(t, s)); d != "" {
			t.Errorf("entries differ (-spooled +read):\n%s", d)
		}
		if end, ok := s.End(); !ok || end != head || s.Saved() != 5039 {
			t.Errorf("ends at %+v, saved %s", end, s.Saved())
		}
	}
}

func TestBatchesEndWhereTheMonthDoes(t *testing.T) {
	s := open(t, t.TempDir(), small())
	_, head := add(t, s, genesis(), 3, "")
	add(t, s, head, 3, "")
	apart := func(a, b int64) bool { return b != int64(1_770_000_000_000_003) }
	for _, want := range []int{3, 3, 0} {
		got, err := take(s, 100, 1<<20, apart)
		if err != nil || len(got) != want {
			t.Errorf("%d entries (%v), want %d", len(got), err, want)
		}
	}
}

// What is stored is not given out again, wherever in a frame the trail ends.
func TestSeekPassesOverWhatIsStored(t *testing.T) {
	s := open(t, t.TempDir(), small())
	heads := []audit.Head{genesis()}
	for range 6 {
		entries, _ := add(t, s, heads[len(heads)-1], 5, strings.Repeat("x", 300))
		for _, e := range entries {
			heads = append(heads, audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp})
		}
	}
	for _, h := range heads {
		if err := s.Seek(h); err != nil {
			t.Fatal(err)
		}
		got := rest(t, s)
		if len(got) != 30-int(h.Size) || len(got) > 0 && got[0].Sequence != h.Size {
			t.Errorf("behind %d: %d entries", h.Size, len(got))
		}
		if n := s.State().Entries; n != 30-h.Size {
			t.Errorf("behind %d: state says %d", h.Size, n)
		}
		forged := h
		forged.Hash[0] ^= 1
		if err := s.Seek(forged); !errors.Is(err, audit.ErrNeedsHuman) {
			t.Errorf("a trail with another entry %d: %v", h.Size, err)
		}
	}
	beyond := heads[30]
	beyond.Size++
	if err := s.Seek(beyond); !errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("a trail that goes on beyond: %v", err)
	}
}

func TestSeekRefusesAHoleInFront(t *testing.T) {
	s := open(t, t.TempDir(), small())
	_, head := next(genesis(), 5, "")
	add(t, s, head, 5, "")
	_, before := next(genesis(), 3, "")
	if err := s.Seek(before); !errors.Is(err, audit.ErrNeedsHuman) || !strings.Contains(err.Error(), "3 to 4") {
		t.Errorf("entries 3 and 4 are nowhere: %v", err)
	}
}

func TestSegmentsGoWhenTheirEntriesAreStored(t *testing.T) {
	s := open(t, t.TempDir(), small())
	head := genesis()
	for range 10 {
		_, head = add(t, s, head, 3, strings.Repeat("x", 800))
	}
	if err := s.Save(head, 77); err != nil {
		t.Fatal(err)
	}
	before := len(segments(t, s))
	var stored audit.Head
	for {
		entries, err := take(s, 1, 1, anyTime)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		e := entries[len(entries)-1]
		stored = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
		if err := s.Drop(stored); err != nil {
			t.Fatal(err)
		}
		// Whatever is left must be enough to go on after a crash.
		if err := New(filepath.Dir(filepath.Dir(s.dir)), "shop", s.cfg, link).load(); err != nil {
			t.Fatal(err)
		}
	}
	if after := len(segments(t, s)); before < 5 || after != 1 {
		t.Errorf("%d segments before, %d after", before, after)
	}
	if ok, err := s.Clear(stored, 76); ok || err != nil {
		t.Errorf("cleared although position 77 is saved nowhere else: %v", err)
	}
	if ok, err := s.Clear(stored, 77); !ok || err != nil || len(segments(t, s)) != 0 || s.State() != (State{}) {
		t.Errorf("not cleared: %v, %v, %+v", ok, err, s.State())
	}
	add(t, s, head, 2, "") // and begins anew
	if got := rest(t, reopen(t, s)); len(got) != 2 {
		t.Errorf("%d entries after a new beginning", len(got))
	}
}

// A position alone must survive, too: the server's log may hold nothing of ours.
func TestPositionWithoutEntries(t *testing.T) {
	s := open(t, t.TempDir(), small())
	_, head := next(genesis(), 4, "")
	if err := s.Save(head, 99); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if end, ok := s.End(); !ok || end != head || s.Saved() != 99 {
		t.Errorf("ends at %+v (%v), saved %s", end, ok, s.Saved())
	}
	add(t, s, head, 1, "")
}

func TestAppendRefusesWhatDoesNotFollow(t *testing.T) {
	s := open(t, t.TempDir(), small())
	_, head := add(t, s, genesis(), 2, "")
	for name, change := range map[string]func(*audit.Entry){
		"content": func(e *audit.Entry) { e.ActorID = audit.T("mallory") },
		"stream":  func(e *audit.Entry) { e.Stream = "other" },
		"hole":    func(e *audit.Entry) { e.Sequence++ },
		"link":    func(e *audit.Entry) { e.PrevHash[0]++ },
	} {
		entries, _ := next(head, 1, "")
		change(&entries[0])
		if _, err := s.Append(head, all(entries)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	entries, _ := next(genesis(), 1, "")
	if _, err := s.Append(genesis(), all(entries)); err == nil {
		t.Error("entries from another place of the chain: accepted")
	}
	if got := rest(t, s); len(got) != 2 {
		t.Errorf("%d entries, want the 2 that belong there", len(got))
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, small())
	if err := New(dir, "shop", small(), link).Open(); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
}

func TestKnownSurvives(t *testing.T) {
	s := open(t, t.TempDir(), small())
	if _, found, err := s.Recall(); found || err != nil {
		t.Errorf("something is known of nothing: %v", err)
	}
	_, head := next(genesis(), 4, "")
	want := Known{Genesis: []byte(`{"a":1}`), State: []byte(`{}`), Configuration: "c", Head: head, Position: 9}
	if err := errors.Join(s.Remember(Known{}), s.Remember(want)); err != nil {
		t.Fatal(err)
	}
	got, found, err := reopen(t, s).Recall()
	if d := cmp.Diff(want, got); err != nil || !found || d != "" {
		t.Errorf("recalled (%v, %v) (-want +got):\n%s", found, err, d)
	}
	file := filepath.Join(s.dir, knownFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, slices.Concat(text[:40], []byte("7"), text[41:]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Recall(); err == nil {
		t.Error("a damaged file is believed")
	}
	if err := Forget(filepath.Dir(filepath.Dir(s.dir)), "shop"); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Recall(); found || err != nil {
		t.Errorf("known after it was forgotten: %v", err)
	}
}

func TestInspectSaysWhatStateSays(t *testing.T) {
	dir := t.TempDir()
	if got, err := Inspect(dir, "shop"); err != nil || got != (State{}) {
		t.Errorf("no spool: %+v, %v", got, err)
	}
	s := open(t, dir, small())
	head := genesis()
	for range 10 {
		_, head = add(t, s, head, 3, strings.Repeat("x", 800))
	}
	if err := s.Save(head, 77); err != nil {
		t.Fatal(err)
	}
	got, err := Inspect(dir, "shop")
	if d := cmp.Diff(s.State(), got); err != nil || d != "" {
		t.Errorf("inspected (%v) (-state +inspect):\n%s", err, d)
	}
	if got.Entries != 30 || got.Saved != 77 {
		t.Errorf("%+v", got)
	}
}

// Whoever looks while the spool drains sees it, whatever vanishes meanwhile.
func TestInspectWhileDraining(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small())
	head := genesis()
	for range 60 {
		_, head = add(t, s, head, 2, strings.Repeat("x", 1500))
	}
	if err := s.Save(head, 77); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		stored := genesis()
		for stored != head {
			entries, err := take(s, 2, 1, anyTime)
			if err != nil {
				done <- err
				return
			}
			e := &entries[len(entries)-1]
			stored = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
			if err := s.Drop(stored); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for before := uint64(1 << 60); ; {
		got, err := Inspect(dir, "shop")
		if err != nil || got.Saved != 77 || got.Entries > before {
			t.Errorf("%+v after %d entries: %v", got, before, err)
		}
		before = got.Entries
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
