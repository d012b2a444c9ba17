package pgwitness

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sink"
)

// batch is a run of entries of one month that is stored by one insert, and what
// may be acknowledged once it is.
type batch struct {
	before  audit.Head // what the first entry is linked to
	after   audit.Head
	entries []audit.Entry // not settled yet
	weight  int           // bytes of the feeds that entries came from, about
	laid    *sink.Batch   // those that are: sealed, and laid out for the insert; nil: none
	rows    int           // number of entries in laid
	oldest  int64         // commit time of the first of them
	ack     audit.LSN     // end of the last transaction wholly in this batch or before it; 0: none yet
	opened  time.Time     // when the first entry came in
}

// empty reports whether there is nothing to store and nothing to acknowledge.
func (b *batch) empty() bool { return len(b.entries) == 0 && b.laid == nil && b.ack == 0 }

// full reports whether a bound is met.
func (b *batch) full(limits BatchConfig) bool {
	bytes := b.weight
	if b.laid != nil {
		bytes += b.laid.Bytes()
	}
	return b.rows+len(b.entries) >= limits.Rows || bytes >= limits.Bytes
}

// Entries wait until there are so many, or so many bytes of them, and are then
// sealed and laid out. So few stay in the cache of the processor on their way,
// and their memory is used again: as entries they take more of it than as
// columns.
const (
	settleRows  = 512
	settleBytes = 1 << 20
)

// gatherer turns transactions into batches. It is owned by the gather loop.
type gatherer struct {
	enrich  enricher
	fill    filler // nil: nothing is personal
	seal    sealer
	layer   layer
	limits  BatchConfig
	head    audit.Head // behind the last entry that was sealed
	last    int64      // timestamp of the last entry
	stored  audit.Head // what the trail held when the stream was taken up
	current *batch
	handed  time.Time     // when the sink took the last batch that had entries
	ready   []*batch      // full, in order
	spare   []audit.Entry // memory of entries that are settled
	err     error         // why entries could not be laid out
}

// enricher makes entries of a transaction; see enrich.Enricher.Append.
type enricher interface {
	Append(dst []audit.Entry, tx *audit.Tx, before int64) []audit.Entry
	// Blanks returns the blanks of the entries made since the last call.
	Blanks() []audit.Blank
	// Forget says that no entry made so far is read any more.
	Forget()
}

// filler writes tokens into blanks. When it returns nil, what opens them is
// durable; until then none of their entries may be sealed. See personal.fill.
type filler func(ctx context.Context, blanks []audit.Blank) error

// sealer links entries behind a head; see chain.Sealer.Seal.
type sealer interface {
	Seal(head audit.Head, entries []audit.Entry) audit.Head
}

// layer lays sealed entries out for an insert; see sink.Sink.Append.
type layer interface {
	Append(b *sink.Batch, entries []audit.Entry) (*sink.Batch, error)
}

func newGatherer(e enricher, s sealer, l layer, limits BatchConfig, head audit.Head) *gatherer {
	return &gatherer{enrich: e, seal: s, layer: l, limits: limits, head: head, last: head.Timestamp, stored: head, current: &batch{}}
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
	b.entries = g.enrich.Append(b.entries, tx, g.last)
	b.entries = g.dropStored(b.entries, start)
	if n := len(b.entries); n > start {
		g.last = b.entries[n-1].Timestamp
	}
	g.splitMonths(start, now)

	b = g.current
	if len(b.entries) > 0 && b.opened.IsZero() {
		b.opened = now
	}
	b.weight += bytes
	if tx.EndLSN > b.ack {
		b.ack = tx.EndLSN
	}
	if g.fill == nil && (len(b.entries) >= settleRows || b.weight >= settleBytes) {
		g.settle(b)
	}
	if b.full(g.limits) {
		g.flush()
	}
	if g.fill == nil && len(g.current.entries) == 0 {
		g.enrich.Forget()
	}
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
	for i := start; i < len(g.current.entries); i++ {
		b := g.current
		before := g.head.Timestamp
		switch {
		case i > 0:
			before = b.entries[i-1].Timestamp
		case b.laid == nil:
			continue
		}
		if sink.SameMonth(b.entries[i].Timestamp, before) {
			continue
		}
		rest := append([]audit.Entry(nil), b.entries[i:]...)
		b.entries = b.entries[:i]
		g.flush()
		g.current.entries, g.current.opened = rest, now
		i = 0
	}
}

// settle seals the entries of b and lays them out. From then on their memory may
// be that of the next ones. Batches are settled in order.
func (g *gatherer) settle(b *batch) {
	b.weight = 0
	if len(b.entries) == 0 || g.err != nil {
		return
	}
	if b.laid == nil {
		b.before, b.oldest = g.head, b.entries[0].Timestamp
	}
	g.head = g.seal.Seal(g.head, b.entries)
	if b.laid, g.err = g.layer.Append(b.laid, b.entries); g.err != nil {
		g.err = fmt.Errorf("lay out batch: %w", g.err)
	}
	b.rows += len(b.entries)
	clear(b.entries)
	b.entries = b.entries[:0]
}

// flush makes the current batch ready and opens the next one.
func (g *gatherer) flush() {
	b := g.current
	if b.empty() {
		return
	}
	if g.fill == nil {
		g.finish(b)
	}
	g.ready = append(g.ready, b)
	g.current = &batch{entries: g.spare}
	g.spare = nil
}

// finish settles a batch that is full. The batch that has just begun takes over
// the memory of its entries: as a rule there is one such array, and not two.
func (g *gatherer) finish(b *batch) {
	g.settle(b)
	if b.laid == nil {
		b.before = g.head
	}
	b.after = g.head
	if g.current != b && g.current.entries == nil {
		g.current.entries = b.entries
	} else {
		g.spare = b.entries
	}
	b.entries = nil
}

// fillRows is how many entries with personal values wait before these are made
// tokens: that may take an insert.
const fillRows = 10_000

// take returns the batches that became full since the last call, settled. In
// front of that it fills in the tokens of personal values, which may have to
// wait for ClickHouse. A crash in there leaves at most keys that no entry uses.
func (g *gatherer) take(ctx context.Context) ([]*batch, error) {
	ready := g.ready
	g.ready = nil
	if g.fill != nil && (len(ready) > 0 || len(g.current.entries) >= fillRows) {
		covered := func(b audit.Blank) bool { return g.stored.Covers(b.Position) } // its entry was dropped
		if err := g.fill(ctx, slices.DeleteFunc(g.enrich.Blanks(), covered)); err != nil {
			return nil, err
		}
		for _, b := range ready {
			g.finish(b)
		}
		g.settle(g.current)
	}
	return ready, g.err
}

// linger is the part of the window that an entry waits for others although
// nothing else keeps it: what one click commits at about the same time should be
// one insert.
const linger = 20

// due is the time from which the sink may have the current batch; ok is false
// when there is nothing for it. What comes after a pause is due at once, and what
// follows when the window is over: a quiet stream does not wait, and a busy one
// makes no more inserts than one in each window. A batch that is only a position
// is none.
func (g *gatherer) due() (t time.Time, ok bool) {
	b := g.current
	if b.opened.IsZero() {
		return time.Time{}, !b.empty()
	}
	return laterOf(b.opened.Add(g.limits.Window/linger), g.handed.Add(g.limits.Window)), true
}
