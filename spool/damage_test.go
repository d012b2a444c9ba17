package spool

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgwitness/pgwitness/audit"
)

// filled is a closed spool of several segments whose last frame holds entries,
// and the end of the chain before that frame.
func filled(t *testing.T) (s *Spool, before audit.Head, lastFrame int64) {
	t.Helper()
	s = open(t, t.TempDir(), small())
	head := genesis()
	for range 8 {
		_, head = add(t, s, head, 3, strings.Repeat("x", 500))
		if err := s.Save(head, audit.LSN(head.Size)); err != nil {
			t.Fatal(err)
		}
	}
	lastFrame = s.segments[len(s.segments)-1].size
	add(t, s, head, 1, "last")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s, head, lastFrame
}

// change rewrites a file.
func change(t testing.TB, file string, how func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, how(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A crash within the last write leaves any part of the frame, zeros in its
// place, or some of its pages: it is cut off, what was before it stays, and the
// spool goes on.
func TestTornLastFrameIsCutOff(t *testing.T) {
	s, before, at := filled(t)
	file := segments(t, s)[len(segments(t, s))-1]
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := at; n < int64(len(whole)); n++ {
		goOn := (n-at)%61 == 0
		reset(t, file, whole[:n])
		checkCut(t, s, before, "cut short", goOn)
		if n < at+headerSize || goOn {
			reset(t, file, append(slices.Clone(whole[:n]), make([]byte, int64(len(whole))-n)...))
			checkCut(t, s, before, "zeros", goOn)
		}
	}
	late := slices.Clone(whole) // the first page did not arrive, the rest did
	clear(late[at : at+headerSize])
	reset(t, file, late)
	checkCut(t, s, before, "no header", true)
}

func reset(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func checkCut(t *testing.T, s *Spool, before audit.Head, name string, goOn bool) {
	t.Helper()
	r := New(filepath.Dir(filepath.Dir(s.dir)), "shop", s.cfg, link)
	if err := r.Open(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer r.Close()
	if end, ok := r.End(); !ok || end != before || r.Saved() != audit.LSN(before.Size) {
		t.Errorf("%s: ends at %d, saved %s, want %d", name, end.Size, r.Saved(), before.Size)
	}
	if !goOn {
		return
	}
	add(t, r, before, 1, "last")
	if n := len(rest(t, r)); n != int(before.Size)+1 {
		t.Errorf("%s: %d entries", name, n)
	}
}

// What an application writes into its rows is no frame, however much it looks
// like one: an incomplete frame with such an entry is cut off as any other.
func TestEntryThatLooksLikeAFrame(t *testing.T) {
	s := open(t, t.TempDir(), small())
	_, head := add(t, s, genesis(), 3, "before")
	at := s.segments[0].size
	add(t, s, head, 1, string(seal(make([]byte, headerSize), kindPosition, 1<<40)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.path(1))
	if err != nil {
		t.Fatal(err)
	}
	for n := at; n < int64(len(whole)); n += 5 {
		reset(t, s.path(1), whole[:n])
		r := New(filepath.Dir(filepath.Dir(s.dir)), "shop", s.cfg, link)
		if err := r.Open(); err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if end, ok := r.End(); !ok || end != head || r.Saved() != 0 {
			t.Errorf("cut at %d: ends at %d, saved %s", n, end.Size, r.Saved())
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A segment whose making was interrupted was never used.
func TestUnfinishedSegmentIsRemoved(t *testing.T) {
	for _, n := range []int64{0, 1, 31, 40} {
		s, _, _ := filled(t)
		count := len(segments(t, s))
		frame := seal(s.preamble(genesis(), 0), kindSegment, uint64(count+1))
		reset(t, s.path(uint64(count+1)), frame[:n])
		r := open(t, filepath.Dir(filepath.Dir(s.dir)), s.cfg)
		if got := len(rest(t, r)); got != 25 || len(segments(t, r)) != count {
			t.Errorf("%d bytes of a segment: %d entries in %d segments", n, got, len(segments(t, r)))
		}
	}
}

// Every flipped bit that is not in the last frame is found, and so is whatever
// else can happen to files; nothing is changed then.
func TestDamageNeedsAHuman(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[at] ^= 4
			return b
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, files []string)
		say    string
	}{
		"edited entry":         {func(t *testing.T, f []string) { change(t, f[1], flip(600)) }, "000000000002.segment at offset"},
		"edited length":        {func(t *testing.T, f []string) { change(t, f[1], flip(headerSize+120+12)) }, "000000000002.segment"},
		"edited first header":  {func(t *testing.T, f []string) { change(t, f[0], flip(5)) }, "000000000001.segment at offset 0"},
		"edited in last":       {func(t *testing.T, f []string) { change(t, f[len(f)-1], flip(300)) }, ".segment at offset"},
		"truncated in the end": {func(t *testing.T, f []string) { change(t, f[1], func(b []byte) []byte { return b[:len(b)-10] }) }, "000000000002.segment"},
		"truncated at a frame": {func(t *testing.T, f []string) { change(t, f[1], func(b []byte) []byte { return b[:frames(b)[1]] }) }, "000000000003.segment at offset 0"},
		"emptied":              {func(t *testing.T, f []string) { change(t, f[1], func([]byte) []byte { return nil }) }, "000000000002.segment at offset 0"},
		"missing":              {func(t *testing.T, f []string) { remove(t, f[1]) }, "000000000002.segment at offset 0: the file is missing"},
		"frame cut out": {func(t *testing.T, f []string) {
			change(t, f[1], func(b []byte) []byte { o := frames(b); return append(b[:o[1]:o[1]], b[o[2]:]...) })
		}, ".segment at offset"},
		"exchanged segments":    {func(t *testing.T, f []string) { swap(t, f[0], f[1]) }, "this is segment 2"},
		"segment of other name": {func(t *testing.T, f []string) { reset(t, filepath.Join(filepath.Dir(f[0]), "x"+suffix), nil) }, "not the name"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := filled(t)
			files := segments(t, s)
			if len(files) < 3 {
				t.Fatalf("%d segments", len(files))
			}
			c.damage(t, files)
			before := contents(t, s.dir)
			err := New(filepath.Dir(filepath.Dir(s.dir)), "shop", s.cfg, link).Open()
			if !errors.Is(err, audit.ErrNeedsHuman) || !strings.Contains(err.Error(), c.say) {
				t.Errorf("error %v, want one that needs a human and says %q", err, c.say)
			}
			if after := contents(t, s.dir); !slices.Equal(before, after) {
				t.Errorf("files were changed: %q, now %q", names(before), names(after))
			}
		})
	}
}

// frames lists the offsets of the frames in b.
func frames(b []byte) (offsets []int64) {
	for at := int64(0); at < int64(len(b)); {
		h, err := parseHeader(b[at:])
		if err != nil {
			return offsets
		}
		offsets = append(offsets, at)
		at += headerSize + h.length
	}
	return offsets
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	if err := errors.Join(os.Rename(a, a+".x"), os.Rename(b, a), os.Rename(a+".x", b)); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, dir string) (list []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f.Name()+"\n"+string(text))
	}
	return list
}

func names(list []string) (names []string) {
	for _, l := range list {
		name, _, _ := strings.Cut(l, "\n")
		names = append(names, name)
	}
	return names
}

// Damage that comes while the spool is open is found when it is read.
func TestDamageIsFoundWhenReading(t *testing.T) {
	s := open(t, t.TempDir(), small())
	_, head := add(t, s, genesis(), 3, strings.Repeat("x", 100))
	add(t, s, head, 3, "")
	change(t, segments(t, s)[0], func(b []byte) []byte { b[700] ^= 1; return b })
	if _, err := take(s, 10, 1<<20, anyTime); !errors.Is(err, audit.ErrNeedsHuman) || !strings.Contains(err.Error(), "000000000001.segment at offset") {
		t.Errorf("error %v", err)
	}
}

const diskFull = "PGWITNESS_TEST_DISK_FULL"

// The limit of the kernel for the size of a file stands for a full disk: writes
// end in the middle. Nothing of the frame stays, and once there is room again
// the spool goes on as if nothing had been.
func TestDiskFull(t *testing.T) {
	if os.Getenv(diskFull) == "" { // the limit is that of a process
		child := exec.Command(os.Args[0], "-test.run=^TestDiskFull$")
		child.Env = append(os.Environ(), diskFull+"=1")
		if said, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
	}
	defer limit(old.Cur)
	s := open(t, t.TempDir(), Config{MaxBytes: 1 << 30, SegmentBytes: 1 << 20})
	_, head := add(t, s, genesis(), 5, "")
	full := s.segments[0].size
	for _, room := range []int64{0, 1, headerSize, 500} {
		limit(uint64(full + room))
		entries, end := next(head, 2, strings.Repeat("x", 2000))
		for range 3 {
			if _, err := s.Append(head, all(entries)); !errors.Is(err, syscall.EFBIG) {
				t.Fatalf("with %d bytes of room: %v", room, err)
			}
		}
		if room < headerSize {
			if err := s.Save(head, 5); err == nil {
				t.Fatal("a position is saved where there is no room")
			}
		}
		if info, err := os.Stat(s.path(1)); err != nil || info.Size() != full {
			t.Errorf("the segment has %d bytes (%v), want %d", info.Size(), err, full)
		}
		limit(old.Cur)
		if _, err := s.Append(head, all(entries)); err != nil {
			t.Fatal(err)
		}
		head, full = end, s.segments[0].size
	}
	if got := rest(t, reopen(t, s)); len(got) != 13 {
		t.Errorf("%d entries, want 13", len(got))
	}
}

func TestFullSpool(t *testing.T) {
	cfg := Config{MaxBytes: 20 << 10, SegmentBytes: 4 << 10}
	s := open(t, t.TempDir(), cfg)
	head := genesis()
	for {
		entries, end := next(head, 2, strings.Repeat("x", 900))
		if _, err := s.Append(head, all(entries)); err != nil {
			if !errors.Is(err, ErrFull) || audit.Hint(err) == "" {
				t.Fatal(err)
			}
			break
		}
		head = end
	}
	if b := s.State().Bytes; b > cfg.MaxBytes || b < cfg.MaxBytes/2 {
		t.Errorf("full at %d bytes of %d", b, cfg.MaxBytes)
	}
	if err := s.Save(head, 9); err != nil {
		t.Errorf("what is spooled cannot be acknowledged: %v", err)
	}
	entries, err := take(s, 8, 1<<20, anyTime)
	if err != nil {
		t.Fatal(err)
	}
	e := entries[len(entries)-1]
	if err := s.Drop(audit.Head{Size: e.Sequence + 1, Hash: e.Hash}); err != nil {
		t.Fatal(err)
	}
	add(t, s, head, 2, strings.Repeat("x", 900)) // there is room again
}

// Whatever is appended, drained, killed and torn in whatever order: what was
// acknowledged is still there, in order, once, or was stored.
func TestPropertyAppendCrashReopen(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			r.Fatal(err)
		}
		cfg := Config{MaxBytes: 1 << 20, SegmentBytes: int64(rapid.IntRange(1000, 8000).Draw(r, "segment"))}
		m := &model{r: r, dir: dir, cfg: cfg, end: genesis(), stored: genesis()}
		m.open()
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "append", "save", "drain", "crash", "torn"}).Draw(r, "step") {
			case "append":
				m.append(rapid.IntRange(1, 5).Draw(r, "entries"), rapid.IntRange(0, 900).Draw(r, "size"))
			case "save":
				m.saved++
				m.check(m.s.Save(m.end, m.saved))
			case "drain":
				m.drain(rapid.IntRange(1, 10).Draw(r, "rows"))
			case "crash":
				m.open()
			case "torn":
				m.tear(rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(r, "garbage"))
			}
		}
		m.open()
		for m.stored != m.end {
			m.drain(1000)
		}
		m.check(m.s.Close())
	})
}

// model is what the spool must hold, and a trail that it drains into.
type model struct {
	r           *rapid.T
	dir         string
	cfg         Config
	s           *Spool
	end, stored audit.Head
	saved       audit.LSN
}

func (m *model) check(err error) {
	if err != nil {
		m.r.Fatal(err)
	}
}

// open is what a start does after a crash: the old handles are just forgotten.
func (m *model) open() {
	if m.s != nil {
		m.check(m.s.Close())
	}
	m.s = New(m.dir, "shop", m.cfg, link)
	m.check(m.s.Open())
	end, ok := m.s.End()
	if ok && end != m.end || !ok && m.stored != m.end {
		m.r.Fatalf("the spool ends at %d (%v), appended were %d", end.Size, ok, m.end.Size)
	}
	if ok && m.s.Saved() != m.saved {
		m.r.Fatalf("saved %s, want %s", m.s.Saved(), m.saved)
	}
	m.check(m.s.Seek(m.stored))
}

func (m *model) append(n, size int) {
	entries, end := next(m.end, n, strings.Repeat("x", size))
	_, err := m.s.Append(m.end, all(entries))
	m.check(err)
	m.end = end
}

func (m *model) drain(rows int) {
	entries, err := take(m.s, rows, 1<<20, anyTime)
	m.check(err)
	for _, e := range entries {
		if e.Sequence != m.stored.Size || e.PrevHash != m.stored.Hash {
			m.r.Fatalf("entry %d is given out behind %d", e.Sequence, m.stored.Size)
		}
		m.stored = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
	}
	m.check(m.s.Drop(m.stored))
	cleared, err := m.s.Clear(m.stored, m.saved)
	m.check(err)
	if cleared {
		m.saved = 0
	} else if len(entries) == 0 {
		m.r.Fatalf("nothing is given out behind %d, the end is %d", m.stored.Size, m.end.Size)
	}
}

// tear leaves garbage behind the newest segment, as a crash within a write does.
func (m *model) tear(garbage []byte) {
	n := len(m.s.segments)
	if n == 0 {
		return
	}
	f, err := os.OpenFile(m.s.path(m.s.segments[n-1].index), os.O_WRONLY|os.O_APPEND, 0)
	m.check(err)
	_, err = f.Write(garbage)
	m.check(errors.Join(err, f.Close()))
	m.open()
}
