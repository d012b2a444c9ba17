package sink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Batch is a run of sealed entries, laid out as the columns that are sent. It
// does not refer to the entries it was prepared from.
type Batch struct {
	columns *store.Columns
	first   uint64     // sequence of the first entry
	prev    audit.Hash // what the first entry is linked to
	head    audit.Head // of the chain once it is stored
}

// Rows is the number of entries.
func (b *Batch) Rows() int { return b.columns.Rows() }

// Bytes is the size of the entries, uncompressed and about.
func (b *Batch) Bytes() int { return b.columns.Bytes() }

// Head is the head of the chain once the batch is stored.
func (b *Batch) Head() audit.Head { return b.head }

// Entries yields what the batch was prepared from, one entry refilled again and
// again, whose texts are lent. The batch must not have been stored.
func (b *Batch) Entries() iter.Seq[*audit.Entry] {
	return func(yield func(*audit.Entry) bool) {
		var e audit.Entry
		for i := range b.Rows() {
			if b.columns.Row(i, &e); !yield(&e) {
				return
			}
		}
	}
}

// Discard gives the memory of b back, which the caller has put elsewhere.
func (s *Sink) Discard(b *Batch) { s.release(b) }

// Prepare is Append to no batch: all entries are at hand.
func (s *Sink) Prepare(entries []audit.Entry) (*Batch, error) {
	if len(entries) == 0 {
		return nil, errors.New("prepare batch: no entries")
	}
	return s.Append(nil, entries)
}

// Append lays out entries for Insert behind those of b, nil for a new batch; an
// earlier batch may be inserted at the same time. It refuses what could not be
// stored as one part or would not be a chain: another stream, two months, a
// hole, a broken link. Then b is gone.
func (s *Sink) Append(b *Batch, entries []audit.Entry) (*Batch, error) {
	if b == nil && len(entries) > 0 {
		first := &entries[0]
		b = &Batch{
			columns: s.block(), first: first.Sequence, prev: first.PrevHash,
			head: audit.Head{Size: first.Sequence, Hash: first.PrevHash, Timestamp: first.Timestamp},
		}
	}
	for i := range entries {
		e := &entries[i]
		if err := s.links(b.head, e); err != nil {
			s.release(b)
			return nil, fmt.Errorf("prepare entry %d: %w", e.Sequence, err)
		}
		b.columns.Append(e)
		b.head = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
	}
	return b, nil
}

// links checks that e may follow head in one batch.
func (s *Sink) links(head audit.Head, e *audit.Entry) error {
	switch {
	case e.Stream != s.stream:
		return fmt.Errorf("stream %q, want %q", e.Stream, s.stream)
	case e.Sequence != head.Size:
		return fmt.Errorf("out of sequence, want %d", head.Size)
	case e.PrevHash != head.Hash:
		return fmt.Errorf("linked to %s, want %s", e.PrevHash, head.Hash)
	case !SameMonth(e.Timestamp, head.Timestamp):
		return fmt.Errorf("committed in month %d, the entry before it in %d: a batch never crosses a month",
			monthOf(e.Timestamp), monthOf(head.Timestamp))
	}
	return nil
}

// SameMonth reports whether two commit times (microseconds since 1970) fall
// into one partition and may share a batch.
func SameMonth(a, b int64) bool {
	const day = 24 * 60 * 60 * 1_000_000
	if a >= 0 && b >= 0 && a/day == b/day {
		return true // the rule, and cheaper to find out
	}
	return monthOf(a) == monthOf(b)
}

// monthOf is the partition of a commit time: toYYYYMM in UTC.
func monthOf(timestamp int64) int {
	year, month, _ := time.UnixMicro(timestamp).UTC().Date()
	return year*100 + int(month)
}

// Follows reports whether b extends head.
func (b *Batch) Follows(head audit.Head) bool { return b.follows(head) == nil }

// follows checks that b extends head.
func (b *Batch) follows(head audit.Head) error {
	if b.first == head.Size && b.prev == head.Hash {
		return nil
	}
	return fmt.Errorf("insert entries from %d, linked to %s: the head is %s", b.first, b.prev, describe(head))
}

// stored judges the head that was read back after an attempt to insert b
// behind head.
func (b *Batch) stored(head, got audit.Head) (bool, error) {
	switch {
	case got == b.head:
		return true, nil
	case got == head:
		return false, nil
	}
	return false, audit.WithHint(
		fmt.Errorf("insert entries %d to %d: another writer extends this chain: the stored head is %s, want %s or still %s: %w",
			b.first, b.head.Size-1, describe(got), describe(b.head), describe(head), audit.ErrNeedsHuman),
		"find the second sidecar of this stream and stop it, run pgwitness verify --full, then start one again")
}

// describe names a head in errors.
func describe(h audit.Head) string {
	if h.Size == 0 {
		return "that of an empty chain"
	}
	return fmt.Sprintf("entry %d (%s, hash %s)", h.Size-1, h.Position, h.Hash)
}

// keepBytes is the size up to which a block keeps its memory for the next
// batch; a rare batch of huge values must not be paid for ever after.
const keepBytes = 64 << 20

// block takes a spare block or makes one.
func (s *Sink) block() *store.Columns {
	select {
	case c := <-s.spare:
		return c
	default:
		return store.NewColumns()
	}
}

// release gives the block of b back.
func (s *Sink) release(b *Batch) {
	if b.columns.Bytes() > keepBytes {
		return
	}
	b.columns.Reset()
	select {
	case s.spare <- b.columns:
	default:
	}
}

// send makes one attempt to insert b. An error says nothing about whether it
// was stored.
func (s *Sink) send(ctx context.Context, b *Batch, attempt, swallowed int) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	// Whoever extends this head, in whatever process, uses this token: the
	// server stores one of them.
	token := fmt.Sprintf("%s/%d", s.stream, b.first)
	if swallowed > 0 {
		token += fmt.Sprintf("/%d", swallowed)
	}
	input := b.columns.Input()
	return s.inserts.do(ctx, func(client *ch.Client) error {
		return store.Do(ctx, client, ch.Query{
			Body:     input.Into("audit_logs"),
			QueryID:  fmt.Sprintf("%s%d/%d", s.prefix(), b.first, attempt),
			Input:    input,
			Settings: s.insertSettings(token),
		})
	})
}

// prefix begins the query id of every insert of this stream, whichever process
// runs it.
func (s *Sink) prefix() string { return "pgwitness/" + s.stream + "/" }

// insertSettings make one insert one part, at once, once per token.
func (s *Sink) insertSettings(token string) []ch.Setting {
	must := func(key, value string) ch.Setting { return ch.Setting{Key: key, Value: value, Important: true} }
	stall := (s.cfg.StallTimeout + time.Second - 1) / time.Second
	return []ch.Setting{
		must("async_insert", "0"),
		must("insert_deduplicate", "1"),
		must("insert_deduplication_token", token),
		// A batch that crossed a month would be two parts: refused.
		must("max_partitions_per_insert_block", "1"),
		must("throw_on_max_partitions_per_insert_block", "1"),
		must("receive_timeout", fmt.Sprint(int64(stall))),
		// Newer servers have a second switch for deduplication; older ones
		// ignore it.
		{Key: "deduplicate_insert", Value: "enable"},
	}
}
