package verify

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Sizes in entries. Every segment opens a query, which takes ten milliseconds, and
// reads the granules at both of its ends, so they are as large as maxSegment
// allows, and every worker has as many.
const (
	minSegment    = 1 << 14
	maxSegment    = 1 << 20
	progressEvery = 1 << 13
)

// trail is what is known of a stream before its entries are read.
type trail struct {
	genesis audit.Hash // when geneses is 1
	geneses uint64
	rows    uint64 // stored entries
	last    uint64 // highest stored sequence; nothing when rows is 0
}

// run is one verification.
type run struct {
	src source
	o   Options
	trail
	from   uint64 // lowest sequence that is checked
	closed string // why the vault cannot be read; "" when it can
	tokens uint64 // in all entries

	segments []segment
	results  []result // one per segment, written by the worker that has it

	mu       sync.Mutex // guards done, and calls of progress
	done     uint64
	total    uint64
	progress func(done, total uint64)
}

// result is what a worker leaves behind.
type result struct {
	rows   uint64
	last   seen
	found  findings
	tokens uint64
}

func newRun(src source, o Options, t trail, progress func(done, total uint64)) *run {
	r := &run{src: src, o: o, trail: t, total: t.rows, progress: progress}
	if o.Tail > 0 && o.Tail <= t.last {
		r.from = t.last - o.Tail + 1
		r.total = min(t.rows, o.Tail)
	}
	return r
}

// cut lays the segments, of size sequences each or, when size is 0, of as many
// as suit the length of the trail and the number of workers. Their number follows the number
// of entries and not that of sequences, which a forged entry could make huge:
// the last segment takes what remains.
func (r *run) cut(size uint64) {
	if r.rows == 0 {
		return
	}
	if size == 0 {
		workers := uint64(r.o.parallel())
		each := (r.total-1)/(workers*maxSegment) + 1 // segments of a worker
		size = max((r.total-1)/(workers*each)+1, minSegment)
	}
	for i := uint64(0); i < r.total; i += size {
		r.segments = append(r.segments, segment{from: r.from + i, to: r.from + i + size - 1})
	}
	r.segments[0].whole = true
	// Entries fewer than sequences leave the border short of last, doubled
	// ones carry it beyond.
	for n := len(r.segments); n > 1 && r.segments[n-1].from > r.last; n-- {
		r.segments = r.segments[:n-1]
	}
	r.segments[len(r.segments)-1].to = r.last
	r.results = make([]result, len(r.segments))
}

// check walks all segments, some at a time.
func (r *run) check(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.o.parallel())
	for i := range r.segments {
		g.Go(func() error { return r.checkSegment(ctx, i) })
	}
	return g.Wait()
}

func (r *run) checkSegment(ctx context.Context, i int) error {
	s := r.segments[i]
	from, to := s.from, s.to
	if from > 0 {
		from--
	}
	if to < r.last {
		to++
	}
	w := &walker{segment: s}
	r.watch(ctx, w)
	if r.geneses == 1 {
		w.genesis = &r.genesis
	}
	reported := uint64(0)
	err := r.src.Read(ctx, r.o.Stream, from, to, func(block *store.Columns) error {
		if w.rows-reported >= progressEvery {
			r.advance(w.rows - reported)
			reported = w.rows
		}
		return w.take(block)
	})
	if err != nil {
		return fmt.Errorf("sequences %d to %d: %w", s.from, s.to, err)
	}
	if err := w.openings.judge(); err != nil {
		return fmt.Errorf("sequences %d to %d: %w", s.from, s.to, err)
	}
	w.finish()
	r.advance(w.rows - reported)
	r.results[i] = result{rows: w.rows, last: w.last, found: w.found, tokens: w.openings.tokens}
	return nil
}

// watch makes w look at tokens, too.
func (r *run) watch(ctx context.Context, w *walker) {
	w.openings = openings{found: &w.found, known: make(map[audit.Hash]standing)}
	if r.o.Vault != nil && r.closed == "" {
		w.openings.ask = func(tokens []audit.Hash, use func(Opening, audit.SubjectKey, bool)) error {
			return r.o.Vault.Open(ctx, r.o.Stream, tokens, use)
		}
	}
}

func (r *run) advance(rows uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += rows
	if r.progress != nil {
		r.progress(r.done, max(r.done, r.total))
	}
}

// report puts the segments together.
func (r *run) report() Report {
	report := Report{Stream: r.o.Stream, From: r.from}
	var found findings
	var head *seen
	for i := range r.results {
		part := &r.results[i]
		report.Checked += part.rows
		r.tokens += part.tokens
		found.merge(&part.found)
		if part.rows > 0 {
			head = &part.last
		}
	}
	found.nameSwaps()
	found.excuse()
	report.Gaps = found.gaps
	if head != nil {
		report.setHead(head)
	} else if r.geneses == 1 {
		report.Head = r.genesis.String()
	}
	report.Verdicts = []Verdict{
		r.integrity(&found), r.completeness(&found, head), r.freshness(head),
		{Name: Anchoring, Status: NotChecked, Reason: "no checkpoint kept elsewhere was given: a tail cut off, or a chain computed anew, is not seen"},
		r.openings(&found),
	}
	return report
}
