package pgwitness

import (
	"context"
	"slices"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// batch is a run of sealed entries of one month that is stored by one insert,
// and what may be acknowledged once it is.
type batch struct {
	before  audit.Head // what the first entry is linked to
	after   audit.Head
	entries []audit.Entry // handed back once they are laid out for the insert
	rows    int           // number of entries, and the commit time of the first, from then on
	oldest  int64
	bytes   int       // of the feeds they came from, about
	ack     audit.LSN // end of the last transaction wholly in this batch or before it; 0: none yet
	opened  time.Time // when the first entry came in
}

// monthOf numbers the month of a timestamp as the partitions of the trail do:
// 202611.
func monthOf(microseconds int64) int {
	t := time.UnixMicro(microseconds).UTC()
	return t.Year()*100 + int(t.Month())
}

// empty reports whether there is nothing to store and nothing to acknowledge.
func (b *batch) empty() bool { return len(b.entries) == 0 && b.ack == 0 }

// gatherer turns transactions into batches. It is owned by the gather loop.
type gatherer struct {
	enrich  enricher
	fill    filler // nil: nothing is personal
	seal    sealer
	limits  BatchConfig
	head    audit.Head // behind the last entry that was sealed
	last    int64      // timestamp of the last entry of a full batch
	stored  audit.Head // what the trail held when the stream was taken up
	current *batch
	ready   []*batch      // full, in order
	spare   []audit.Entry // memory of a batch that is done with
}

// enricher makes entries of a transaction; see enrich.Enricher.Append.
type enricher interface {
	Append(dst []audit.Entry, tx *audit.Tx, before int64) []audit.Entry
	// Blanks returns the blanks of the entries made since the last call.
	Blanks() []audit.Blank
}

// filler writes tokens into blanks. When it returns nil, what opens them is
// durable; until then none of their entries may be sealed. See personal.fill.
type filler func(ctx context.Context, blanks []audit.Blank) error

// sealer links entries behind a head; see chain.Sealer.Seal.
type sealer interface {
	Seal(head audit.Head, entries []audit.Entry) audit.Head
}

func newGatherer(e enricher, s sealer, limits BatchConfig, head audit.Head) *gatherer {
	return &gatherer{enrich: e, seal: s, limits: limits, head: head, last: head.Timestamp, stored: head, current: &batch{}}
}

// add takes the transactions of feed in. Batches that became full are in
// ready.
func (g *gatherer) add(feed *audit.Feed, now time.Time) {
	share := feed.Bytes / max(1, len(feed.Txs))
	for i := range feed.Txs {
		g.addTx(&feed.Txs[i], share, now)
	}
}

func (g *gatherer) addTx(tx *audit.Tx, bytes int, now time.Time) {
	b := g.current
	start := len(b.entries)
	b.entries = g.enrich.Append(b.entries, tx, g.lastTimestamp())
	b.entries = g.dropStored(b.entries, start)
	g.splitMonths(start, now)

	b = g.current
	if len(b.entries) > 0 && b.opened.IsZero() {
		b.opened = now
	}
	b.bytes += bytes
	if tx.EndLSN > b.ack {
		b.ack = tx.EndLSN
	}
	if len(b.entries) >= g.limits.Rows || b.bytes >= g.limits.Bytes {
		g.flush()
	}
}

// lastTimestamp is the timestamp of the entry before the next one.
func (g *gatherer) lastTimestamp() int64 {
	if n := len(g.current.entries); n > 0 {
		return g.current.entries[n-1].Timestamp
	}
	return g.last
}

// dropStored removes from entries[start:] what the trail holds already: after
// a restart PostgreSQL delivers again everything behind the acknowledged
// position, and the trail may be further.
func (g *gatherer) dropStored(entries []audit.Entry, start int) []audit.Entry {
	n := start
	for n < len(entries) && g.stored.Covers(entries[n].Position()) {
		n++
	}
	if n == start {
		return entries
	}
	return append(entries[:start], entries[n:]...)
}

// splitMonths cuts the current batch where the month changes at or behind
// entry start, since an insert into two partitions would not be atomic. What
// can be acknowledged stays with the last piece.
func (g *gatherer) splitMonths(start int, now time.Time) {
	for i := max(start, 1); i < len(g.current.entries); i++ {
		b := g.current
		if monthOf(b.entries[i].Timestamp) == monthOf(b.entries[i-1].Timestamp) {
			continue
		}
		rest := append([]audit.Entry(nil), b.entries[i:]...)
		b.entries = b.entries[:i]
		g.flush()
		g.current.entries, g.current.opened = rest, now
		i = 0
	}
}

// flush makes the current batch ready and opens the next one.
func (g *gatherer) flush() {
	b := g.current
	if b.empty() {
		return
	}
	if n := len(b.entries); n > 0 {
		g.last = b.entries[n-1].Timestamp
	}
	g.ready = append(g.ready, b)
	g.current = &batch{entries: g.spare}
	g.spare = nil
}

// take returns the batches that became full since the last call, sealed. In
// front of that it fills in the tokens of personal values, which may have to
// wait for ClickHouse. A crash in there leaves at most keys that no entry uses.
func (g *gatherer) take(ctx context.Context) ([]*batch, error) {
	ready := g.ready
	g.ready = nil
	if len(ready) > 0 && g.fill != nil {
		covered := func(b audit.Blank) bool { return g.stored.Covers(b.Position) } // its entry was dropped
		if err := g.fill(ctx, slices.DeleteFunc(g.enrich.Blanks(), covered)); err != nil {
			return nil, err
		}
	}
	for _, b := range ready {
		b.before = g.head
		g.head = g.seal.Seal(g.head, b.entries)
		b.after = g.head
	}
	return ready, nil
}

// recycle takes the memory of a batch back, whose entries nobody reads any more.
// The batch that has just begun takes it first: as a rule there is one such
// array, of some 20 MiB, and not two.
func (g *gatherer) recycle(entries []audit.Entry) {
	clear(entries)
	if g.current.entries == nil {
		g.current.entries = entries[:0]
		return
	}
	g.spare = entries[:0]
}

// due is the time at which the current batch must be flushed; ok is false when
// there is nothing to flush. A batch that is only a position is due at once.
func (g *gatherer) due() (t time.Time, ok bool) {
	b := g.current
	if b.opened.IsZero() {
		return time.Time{}, !b.empty()
	}
	return b.opened.Add(g.limits.Window), true
}
