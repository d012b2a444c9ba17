package verify

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

func TestTail(t *testing.T) {
	entries := makeTrail(100)
	entries[3].ActorID = audit.T("x") // before the tail
	src := newArchive(entries)
	tests := []struct {
		tail    uint64
		checked uint64
		want    []string
	}{
		{1, 1, nil},
		{90, 90, nil},
		{96, 96, nil}, // linked to the altered entry: its entry_hash is intact
		{97, 97, []string{"integrity content_altered 3"}},
		{99, 99, []string{"integrity content_altered 3"}},
		{100, 100, []string{"integrity content_altered 3"}},
		{1000, 100, []string{"integrity content_altered 3"}},
		{0, 100, []string{"integrity content_altered 3"}},
	}
	for _, tt := range tests {
		for _, segment := range []uint64{0, 10} {
			report := verifyTrail(t, src, Options{Tail: tt.tail}, segment)
			if diff := cmp.Diff(tt.want, faults(report)); diff != "" || report.Checked != tt.checked {
				t.Errorf("tail of %d: checked %d, want %d (-want +got):\n%s", tt.tail, report.Checked, tt.checked, diff)
			}
		}
	}
}

// The first entry of a tail is judged against the stored one before it.
func TestTailWithoutPredecessor(t *testing.T) {
	entries := slices.Delete(makeTrail(100), 89, 90)
	got := faults(verifyTrail(t, newArchive(entries), Options{Tail: 10}, 0))
	if diff := cmp.Diff([]string{"completeness missing 89"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	entries = makeTrail(100)
	reseal(entries[90:], audit.Hash{1})
	got = faults(verifyTrail(t, newArchive(entries), Options{Tail: 10}, 0))
	if diff := cmp.Diff([]string{"integrity link_broken 90"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTailOnClickHouse(t *testing.T) {
	db := newDatabase(t)
	entries := makeTrail(500)
	db.store(entries)
	report := verifyTrail(t, db.source(), Options{Tail: 123}, 50)
	if !report.Holds() || report.Checked != 123 || report.From != 377 || report.Size != 500 || report.Head != entries[499].Hash.String() {
		t.Errorf("got %+v", report)
	}
}

func TestEmptyTrailWithGenesisHolds(t *testing.T) {
	db := newDatabase(t)
	db.insert(testGenesis())
	report := verifyTrail(t, db.source(), Options{}, 0)
	g := testGenesis()
	if hash := genesisHash(&g); !report.Holds() || report.Size != 0 || report.Head != hash.String() {
		t.Errorf("got %+v", report)
	}
}

func TestFreshness(t *testing.T) {
	src := newArchive(makeTrail(10))
	newest := time.UnixMicro(src.entries[9].Timestamp)
	tests := []struct {
		src    source
		age    time.Duration
		limit  time.Duration
		status Status
	}{
		{src, time.Hour, 0, NotChecked},
		{src, time.Hour, time.Hour, Holds},
		{src, time.Hour + time.Second, time.Hour, Fails},
		{newArchive(nil), 0, time.Hour, Fails},
	}
	for _, tt := range tests {
		report := verifyTrail(t, tt.src, Options{Now: newest.Add(tt.age), MaxAge: tt.limit}, 0)
		if got := report.Verdict(Freshness); got.Status != tt.status || got.Status == NotChecked && got.Reason == "" {
			t.Errorf("age %s of %s: %+v", tt.age, tt.limit, got)
		}
	}
}

func TestSlotPosition(t *testing.T) {
	src := newArchive(makeTrail(10))
	tests := []struct {
		slot *Slot
		want []string
	}{
		{nil, nil},
		{&Slot{Confirmed: 100}, nil},
		{&Slot{Confirmed: 100, Acknowledged: 100}, nil},
		{&Slot{Confirmed: 99, Acknowledged: 100}, nil},
		{&Slot{Confirmed: 101, Acknowledged: 100}, []string{"completeness slot_ahead 10"}},
	}
	for _, tt := range tests {
		report := verifyTrail(t, src, Options{Slot: tt.slot}, 0)
		if diff := cmp.Diff(tt.want, faults(report)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.slot, diff)
		}
	}
}

// Not to be able to look is neither "holds" nor "broken".
func TestCouldNotCheck(t *testing.T) {
	db := newDatabase(t)
	nobody, err := store.Parse("clickhouse://nobody@127.0.0.1:1/" + db.ch.Database)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := store.Parse(db.ch.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		src  source
		hint string
	}{
		{"unreachable", t.Context(), FromClickHouse(nobody), "is ClickHouse running"},
		{"no table", t.Context(), FromClickHouse(empty.In("default")), "pgwitness setup"},
		{"no such stream", t.Context(), db.source(), "list the streams"},
		{"cancelled", cancelled, db.source(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.src, zerolog.Nop()).Run(tt.ctx, Options{Stream: testStream}, nil)
			var broken *BrokenError
			if !errors.Is(err, ErrNotChecked) || errors.As(err, &broken) || !strings.Contains(audit.Hint(err), tt.hint) {
				t.Errorf("got %v, hint %q", err, audit.Hint(err))
			}
		})
	}
}

// A source that breaks off in the middle says nothing about the trail.
func TestReadingThatBreaksOff(t *testing.T) {
	src := &breakingOff{archive: newArchive(makeTrail(100)), at: 60}
	_, err := New(src, zerolog.Nop()).Run(t.Context(), Options{Stream: testStream}, nil)
	if !errors.Is(err, ErrNotChecked) || !errors.Is(err, errTorn) {
		t.Errorf("got %v", err)
	}
}

var errTorn = errors.New("torn")

type breakingOff struct {
	*archive
	at uint64
}

func (b *breakingOff) Read(ctx context.Context, stream string, from, to uint64, use func(*store.Columns) error) error {
	read := uint64(0)
	return b.archive.Read(ctx, stream, from, to, func(block *store.Columns) error {
		if read += uint64(block.Rows()); read > b.at {
			return errTorn
		}
		return use(block)
	})
}

func TestProgressReachesTheEnd(t *testing.T) {
	src := newArchive(makeTrail(20_000))
	var calls int
	var done, total uint64
	report, err := New(src, zerolog.Nop()).Run(t.Context(), Options{Stream: testStream, Parallel: 4}, func(d, n uint64) {
		if d < done {
			t.Errorf("progress fell from %d to %d", done, d)
		}
		calls, done, total = calls+1, d, n
	})
	if err != nil || !report.Holds() {
		t.Fatal(err, report)
	}
	if done != 20_000 || total != 20_000 || calls < 2 {
		t.Errorf("%d calls, the last with %d of %d", calls, done, total)
	}
}

func TestReportOfBrokenTrail(t *testing.T) {
	entries := makeTrail(100)
	entries[42].ActorID = audit.T("x")
	entries = slices.Delete(entries, 50, 60)
	report := verifyTrail(t, newArchive(entries), Options{}, 0)
	report.Elapsed = 0

	var broken *BrokenError
	err := report.Err()
	if !errors.As(err, &broken) || broken.Finding.Sequence != 42 || broken.Finding.Want != entries[42].Hash.String() || !errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("error is %#v", err)
	}
	if want := "verify stream shop: integrity fails at sequence 42: a column was altered: the next entry confirms entry_hash, and the columns do not give it"; err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	if !strings.Contains(audit.Hint(err), "evidence") {
		t.Errorf("hint is %q", audit.Hint(err))
	}

	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"stream shop: 100 entries, checked 90 from sequence 0 in 0s\n",
		"integrity     FAILS\n  sequence 42: a column was altered",
		"completeness  FAILS (the position of the replication slot was not compared)\n  sequence 50 to 59: 10 entries are missing\n",
		"anchoring     NOT CHECKED (no checkpoint kept elsewhere",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, &text)
		}
	}
	b, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report, back); diff != "" {
		t.Errorf("JSON loses something (-before +after):\n%s", diff)
	}
}

// A trail that is broken everywhere is counted, not listed.
func TestManyFindings(t *testing.T) {
	entries := makeTrail(1000)
	for i := range entries {
		entries[i].ActorID = audit.T("x")
	}
	v := verifyTrail(t, newArchive(entries), Options{Parallel: 4}, 50)
	got := v.Verdict(Integrity)
	if got.Total != 1000 || len(got.Findings) != maxFindings || got.Findings[99].Sequence != 99 {
		t.Errorf("total %d, listed %d, the last %+v", got.Total, len(got.Findings), got.Findings[len(got.Findings)-1])
	}
}

// The loop over the entries allocates for its first blocks and no more,
// whatever the length of the trail.
func TestMemoryDoesNotGrow(t *testing.T) {
	entries := makeTrail(6_000)
	block := store.NewColumns()
	w := &walker{segment: segment{to: uint64(len(entries)) - 1}}
	var few, many uint64
	for part := range slices.Chunk(entries, 100) {
		block.Reset()
		for i := range part {
			block.Append(&part[i])
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := w.take(block); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if many += after.TotalAlloc - before.TotalAlloc; part[0].Sequence < 1000 {
			few = many
		}
	}
	if many > few+64*1024 {
		t.Errorf("the first 1,000 entries allocate %d bytes, %d allocate %d", few, len(entries), many)
	}
}

// blocksOf lays entries out in blocks of n.
func blocksOf(entries []audit.Entry, n int) []*store.Columns {
	var blocks []*store.Columns
	for part := range slices.Chunk(entries, n) {
		block := store.NewColumns()
		for i := range part {
			block.Append(&part[i])
		}
		blocks = append(blocks, block)
	}
	return blocks
}
