package pgwitness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
)

// orders makes feeds of transactions of 1, 3, 700 and 2500 rows over two months,
// the second of which begins within a feed and between two transactions.
func orders() []audit.Feed {
	rel := &audit.Relation{ID: 1, Schema: "public", Name: "orders", Identity: 'f', Key: []int{0}, Columns: []audit.Column{
		{Name: "id", TypeOID: 20, InIdentity: true}, {Name: "note", TypeOID: 25, InIdentity: true}}}
	february := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	var feeds []audit.Feed
	lsn := audit.LSN(1000)
	for f := range 3 {
		var feed audit.Feed
		for i, rows := range []int{1, 3, 700, 1, 2500, 1} {
			lsn += 10
			tx := audit.Tx{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 5, First: true, Last: true,
				CommitTime: february + int64((f-1)*6+i-3)*1_000_000}
			for r := range rows {
				row := audit.Tuple{{Kind: audit.Literal, Data: fmt.Append(nil, r)}, {Kind: audit.Literal, Data: fmt.Append(nil, lsn)}}
				tx.Changes = append(tx.Changes, audit.Change{Op: audit.Insert, LSN: lsn, Relation: rel, New: row})
			}
			feed.Txs = append(feed.Txs, tx)
			feed.Bytes += rows * 200
		}
		feeds = append(feeds, feed)
	}
	return feeds
}

// gathered runs feeds through real rooms, with a trail that holds everything up
// to stored, and returns the entries that would be inserted. It checks what
// holds for every batch.
func gathered(t *testing.T, limits BatchConfig, stored audit.Head, feeds []audit.Feed, fill filler) (entries []audit.Entry, acks []audit.LSN) {
	t.Helper()
	e, err := enrich.New("shop", enrich.Config{}, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	k := sink.New(store.Server{}, sink.DefaultConfig(), "shop", zerolog.Nop())
	g := newGatherer(e, chain.New([32]byte{7}, 2), k, limits, stored)
	g.fill = fill
	head := stored
	take := func() {
		batches, err := g.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			if b.before != head || b.laid != nil && (b.after != b.laid.Head() || b.rows != b.laid.Rows()) {
				t.Fatalf("a batch of %d entries from %+v to %+v does not follow %+v", b.rows, b.before, b.after, head)
			}
			head = b.after
			acks = append(acks, b.ack)
			if b.laid == nil {
				continue
			}
			for entry := range b.laid.Entries() {
				if entry.CommitLSN >= b.ack && b.ack != 0 || !sink.SameMonth(entry.Timestamp, b.oldest) {
					t.Fatalf("entry %d of %d does not belong into a batch of %d that acknowledges %s", entry.Sequence, entry.Timestamp, b.oldest, b.ack)
				}
				entries = append(entries, store.Clone(entry))
			}
			k.Discard(b.laid)
		}
	}
	for i := range feeds {
		g.add(&feeds[i], time.Unix(1, 0))
		take()
	}
	g.flush()
	take()
	return entries, acks
}

// However a stream is cut into batches, its chain is the same, every batch is of
// one month, and what may be acknowledged is never ahead of it.
func TestBatchesOfAnySizeAreTheSameChain(t *testing.T) {
	const rows = 3 * (1 + 3 + 700 + 1 + 2500 + 1)
	want, acks := gathered(t, BatchConfig{Rows: 1_000_000, Bytes: 1 << 30}, audit.Head{}, orders(), nil)
	if len(want) != rows || len(acks) != 2 || acks[1] != 1185 {
		t.Fatalf("%d entries, acknowledged %v: want %d, a batch for each month, the last up to 1185", len(want), acks, rows)
	}
	for i, limits := range []BatchConfig{{Rows: 1, Bytes: 1 << 30}, {Rows: 600, Bytes: 1 << 30}, {Rows: 600, Bytes: 1 << 30}, {Rows: 1_000_000, Bytes: 1 << 30},
		{Rows: 5000, Bytes: 1 << 30}, {Rows: 1_000_000, Bytes: 1 << 16}} {
		var fill filler
		if i%2 == 0 { // as if something were personal: entries are sealed later
			fill = func(context.Context, []audit.Blank) error { return nil }
		}
		got, acks := gathered(t, limits, audit.Head{}, orders(), fill)
		if len(got) != len(want) || acks[len(acks)-1] != 1185 {
			t.Fatalf("%+v: %d entries, acknowledged %v", limits, len(got), acks)
		}
		for i := range want {
			if got[i].Hash != want[i].Hash || chain.Content(&got[i]) != chain.Content(&want[i]) {
				t.Fatalf("%+v: entry %d differs", limits, i)
			}
		}
	}
}

// After a restart in the middle of a transaction the rest of it, and what comes
// behind, become the very same entries.
func TestRedeliveryGoesOnBehindTheHead(t *testing.T) {
	limits := BatchConfig{Rows: 600, Bytes: 1 << 30}
	want, _ := gathered(t, limits, audit.Head{}, orders(), nil)
	for _, size := range []int{1, 4, 600, 1000, 3206, 5000, len(want) - 1} {
		last := &want[size-1]
		stored := audit.Head{Size: uint64(size), Hash: last.Hash, Position: last.Position(), Timestamp: last.Timestamp}
		got, _ := gathered(t, limits, stored, orders(), nil)
		if len(got) != len(want)-size {
			t.Fatalf("behind %d entries came %d, want %d", size, len(got), len(want)-size)
		}
		for i := range got {
			if got[i].Hash != want[size+i].Hash {
				t.Fatalf("behind %d entries, entry %d differs", size, i)
			}
		}
	}
}

// What comes after a pause is stored at once, what comes behind it when the
// window is over, and a position alone waits for nothing.
func TestQuietStreamDoesNotWaitForTheWindow(t *testing.T) {
	e, err := enrich.New("shop", enrich.Config{}, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	k := sink.New(store.Server{}, sink.DefaultConfig(), "shop", zerolog.Nop())
	limits := BatchConfig{Window: time.Second, Rows: 100_000, Bytes: 1 << 30}
	g := newGatherer(e, chain.New([32]byte{7}, 2), k, limits, audit.Head{})
	feeds := orders()
	now := time.Unix(100, 0)
	if at, ok := g.due(); ok {
		t.Fatalf("nothing is due at %s", at)
	}
	g.add(&feeds[0], now)
	if at, ok := g.due(); !ok || at.Sub(now) != limits.Window/linger {
		t.Fatalf("the first batch is due %s after its first entry (%v), want %s", at.Sub(now), ok, limits.Window/linger)
	}
	g.flush()
	if _, err := g.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.handed = now
	g.add(&feeds[1], now.Add(100*time.Millisecond))
	if at, ok := g.due(); !ok || at.Sub(now) != limits.Window {
		t.Fatalf("the next batch is due %s after the one before (%v), want %s", at.Sub(now), ok, limits.Window)
	}
	g.flush()
	g.add(&audit.Feed{Txs: []audit.Tx{{EndLSN: 5000, First: true, Last: true}}}, now)
	if at, ok := g.due(); !ok || at.After(now) {
		t.Fatalf("a position is due at %s (%v), want at once", at, ok)
	}
}
