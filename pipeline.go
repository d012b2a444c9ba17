package pgwitness

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/sink"
)

const (
	// feedQueue is how many feeds may wait for the gatherer. Together with the
	// one batch in flight and the one that is gathered meanwhile, this bounds the
	// memory of a stream: when ClickHouse is slow that batch grows until it is
	// full, then the queue is, the reader stops reading, and PostgreSQL keeps the
	// log.
	feedQueue = 2
	// savePause is the shortest time between two acknowledgements. Each costs
	// a small insert; what is not acknowledged is only delivered once more.
	savePause = time.Second
	// drainGrace is how long the last batch may take after the end was asked for.
	drainGrace = 30 * time.Second
)

// pipeline is one life of a stream: from a recovered head until the reader
// ends or something fails. It is the protocol of exactly-once:
//
//	read     a whole committed transaction, or a part of a large one
//	gather   entries of it, without those that are stored already
//	fill     tokens into the places of personal values, once their keys are durable
//	seal     the entries, number by number
//	keep     one insert of one month into ClickHouse: THE COMMIT POINT; or, while
//	         ClickHouse is away, one synced frame in the spool
//	save     the position up to which the log is kept, in the same place
//	ack      that position, to the slot
//
// A crash before keep: nothing happened, PostgreSQL delivers again.
// A crash between keep and save or ack: PostgreSQL delivers again, and gather
// drops what the head covers, be it the trail's or that of the spool behind it.
// A crash within keep: the next start fences the insert and reads the head, or
// cuts the incomplete frame off, and one of the above holds.
// What lies in the spool goes to ClickHouse beside all this; see storage.
type pipeline struct {
	stream  string
	reader  reader
	sink    *sink.Sink
	storage *storage
	gather  *gatherer
	enrich  *enrich.Enricher
	noticed func([]enrich.Notice) // hears of DDL that concerns the auditor
	rows    *baseline.Runner      // of the rows that are older; nil for none
	metrics *metrics
	log     zerolog.Logger
	marks   marks
}

// reader is the source of transactions; see cdc.Reader.
type reader interface {
	// Run delivers feeds until ctx ends (nil) or an error. It does not close
	// feeds, and its connection stays open for Close.
	Run(ctx context.Context, feeds chan<- audit.Feed) error
	// Acknowledge says that everything below lsn is stored and that the fact
	// is saved. It never blocks.
	Acknowledge(lsn audit.LSN)
	// Close tells the server what was acknowledged last, and hangs up.
	Close(ctx context.Context) error
}

// parcel is a batch on its way to the sink.
type parcel struct {
	batch    *batch
	prepared *sink.Batch // nil when there is only a position to save
}

// run streams until ctx ends, drains, and returns nil; or returns the first
// error, after which the caller recovers the head and begins anew.
func (p *pipeline) run(ctx context.Context) error {
	// The work goes on for a while after ctx has ended.
	drain, stop := drainContext(ctx, drainGrace)
	defer stop()
	g, work := errgroup.WithContext(drain)
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	context.AfterFunc(work, stopReading) // a failure downstream ends the reading

	feeds := make(chan audit.Feed, feedQueue)
	parcels, wanted := make(chan parcel), make(chan struct{})
	g.Go(func() error {
		defer close(feeds)
		return p.reader.Run(reading, feeds)
	})
	g.Go(func() error {
		defer close(parcels)
		return p.gatherAll(work, feeds, wanted, parcels)
	})
	storing, stopDraining := context.WithCancel(work)
	g.Go(func() error {
		defer stopDraining()
		return p.storeAll(work, wanted, parcels)
	})
	g.Go(func() error { return p.storage.drain(storing) })
	g.Go(func() error { return p.storage.watch(storing) })
	err := g.Wait()
	// Now, and not before, the last acknowledgement is known. What the server
	// does not get to hear, it only delivers again.
	if closed := p.reader.Close(drain); closed != nil && err == nil {
		p.log.Warn().Err(closed).Msg("last position not reported")
	}
	return err
}

// drainContext ends grace after ctx does.
func drainContext(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(work, func() { timer.Stop() })
	})
	return work, func() { stop(); cancel() }
}

// gatherAll turns feeds into parcels until the reader closes the channel. A batch
// that is due waits until one is wanted, and grows meanwhile: so blocks are the
// larger the busier ClickHouse is, and a slow insert stops the reading only when
// the next batch is full.
func (p *pipeline) gatherAll(ctx context.Context, feeds <-chan audit.Feed, wanted <-chan struct{}, parcels chan<- parcel) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		var want <-chan struct{}
		if at, ok := p.gather.due(); ok {
			if wait := time.Until(at); wait > 0 {
				timer.Reset(wait)
				due = timer.C
			} else {
				want = wanted
			}
		}
		select {
		case feed, ok := <-feeds:
			if !ok {
				p.gather.flush()
				return p.hand(ctx, parcels)
			}
			before := p.enrich.Stats()
			p.gather.add(&feed, time.Now())
			p.metrics.enriched(p.stream, before, p.enrich.Stats())
			p.noticed(p.enrich.Notices())
			p.marks.took(&feed)
		case <-due:
		case <-want:
			p.gather.flush()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := p.hand(ctx, parcels); err != nil {
			return err
		}
	}
}

// hand passes full batches on, blocking while the sink is busy: that is the
// back-pressure.
func (p *pipeline) hand(ctx context.Context, parcels chan<- parcel) error {
	ready, err := p.gather.take(ctx)
	if err != nil {
		return err
	}
	for _, b := range ready {
		next := parcel{batch: b, prepared: b.laid}
		select {
		case parcels <- next:
			if next.prepared != nil {
				p.gather.handed = time.Now()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// storeAll keeps parcels in order and acknowledges what is kept. Whenever it has
// nothing to do it says that it wants one.
func (p *pipeline) storeAll(ctx context.Context, wanted chan<- struct{}, parcels <-chan parcel) error {
	var kept, saved audit.LSN // up to where the log is kept; up to where that is saved
	tick := time.NewTicker(savePause)
	defer tick.Stop()
	save := func() error {
		if kept <= saved {
			return nil
		}
		if err := p.storage.save(ctx, kept); errors.Is(err, errLater) {
			return nil
		} else if err != nil {
			return err
		}
		saved = kept
		p.reader.Acknowledge(kept)
		return nil
	}
	for {
		select {
		case wanted <- struct{}{}: // the batch that is due will follow
		case next, ok := <-parcels:
			if !ok {
				return errors.Join(ctx.Err(), save())
			}
			if err := p.storage.keep(ctx, next); err != nil {
				return err
			}
			kept = max(kept, next.batch.ack)
		case <-tick.C:
			if err := save(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
