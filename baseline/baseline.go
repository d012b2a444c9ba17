// Package baseline makes entries of the rows that are older than the stream, so
// that every table has a beginning in the trail: it reads each published table
// once, in chunks in the order of its key, each in one short transaction, while
// the stream goes on.
//
// A chunk lies between two marks that are written into the write-ahead log.
// Whoever comes past them in the log knows what changed between, and so can
// say what each row of the chunk was at the second mark: see enrich.Desk and
// docs/baseline.md. How far a table is, is saved before the second mark of each
// chunk, so that a crash neither loses a row nor makes two entries of one.
//
// This package reads the audited tables and writes marks into the log; it never
// writes to a table, never holds a transaction longer than a chunk takes, and
// never ends the stream: whatever fails is tried again.
package baseline

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
)

// Source is the audited database.
type Source struct {
	DSN            string
	Settings       map[string]string // of a session that renders values as the stream does
	Stream         string
	Publication    string
	Key            [32]byte // of the MAC in marks
	ConnectTimeout time.Duration
	Pause          time.Duration // between two looks at what could not be done
}

// desk is where the stream takes chunks; see enrich.Desk.
type desk interface {
	Follow()
	Leave()
	Expect(id audit.ChunkID, relation uint32, key []string) <-chan audit.Outcome
	Hand(c *audit.Chunk)
	Withdraw()
	Seen(s audit.Snapshot)
}

// ledger keeps states beside the trail, durably.
type ledger interface {
	// SaveBaseline replaces the state of a table.
	SaveBaseline(ctx context.Context, relation uint32, state string) error
	// Baselines returns the states by table; none for a table without.
	Baselines(ctx context.Context) (map[uint32]string, error)
	// NewestBaseline is the position of the newest stored entry of an existing
	// row from sequence since on; 0 when there is none.
	NewestBaseline(ctx context.Context, since uint64) (audit.LSN, error)
}

// stream is how far the pipeline is.
type stream interface {
	// Ready reports whether all that was ever taken in lies where the ledger
	// looks.
	Ready() bool
	// Read is up to where the log was taken in; 0: not known yet.
	Read() audit.LSN
	// Stored is the number of stored entries, and the position of the last.
	Stored() (uint64, audit.LSN)
}

// Meter counts what is done. Each function may be called from any goroutine.
type Meter struct {
	Made    func(entries int) // of existing rows
	Retried func()            // a chunk has to be read again
	Pending func(tables int)  // without a baseline
	// Working says from when on, and until when, entries are made and not
	// known to be stored.
	Working func(yes bool)
}

// Runner reads what is there. It is of one life of a stream.
type Runner struct {
	src    Source
	cfg    Config
	desk   desk
	ledger ledger
	stream stream
	meter  Meter
	log    zerolog.Logger

	wake   chan struct{} // capacity 1
	chunk  int           // rows; smaller than configured where too much changes
	newest audit.LSN     // of the entries that were made in this life
}

// New returns a Runner that has not begun.
func New(src Source, cfg Config, d desk, l ledger, s stream, m Meter, log zerolog.Logger) *Runner {
	return &Runner{
		src: src, cfg: cfg, desk: d, ledger: l, stream: s, meter: m,
		log: log.With().Str("component", "baseline").Logger(), wake: make(chan struct{}, 1),
	}
}

// Wake makes the Runner look for tables that were added. It never blocks.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

const (
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
	// glance is how often a condition is looked at that is waited for.
	glance = 100 * time.Millisecond
)

// errAgain says that something else is left to do after a pause: a table that
// is blocked.
var errAgain = errors.New("some tables cannot be read for now")

// Run reads every table that needs it, now and whenever it is woken, until ctx
// ends.
func (r *Runner) Run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		err := r.survey(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause = firstPause
			r.await(ctx, 0)
			continue
		case errors.Is(err, errAgain):
			pause = max(r.src.Pause, firstPause)
		default:
			r.log.Warn().Err(err).Str("hint", audit.Hint(err)).Dur("retry_in", pause).Msg("baseline interrupted")
		}
		r.await(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// await returns when ctx ends, when woken, or after d, if that is not 0.
func (r *Runner) await(ctx context.Context, d time.Duration) {
	var due <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-due:
	}
}

// until waits until holds does; false when ctx ended first.
func until(ctx context.Context, holds func() bool) bool {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return ctx.Err() == nil
}

// job is a table whose baseline is made.
type job struct {
	table table
	state State
	began time.Time // in this process
	made  int       // since then
	saved time.Time
}

// survey finds the tables that need a baseline, and makes it.
func (r *Runner) survey(ctx context.Context) error {
	if !until(ctx, r.stream.Ready) {
		return ctx.Err()
	}
	c, err := connect(ctx, r.src)
	if err != nil {
		return err
	}
	defer c.close()
	jobs, err := r.jobs(ctx, c)
	r.meter.Pending(len(jobs))
	if err != nil || len(jobs) == 0 {
		return err
	}
	r.meter.Working(true)
	r.desk.Follow()
	defer r.desk.Leave()
	if err := r.settle(ctx, c, jobs[0]); err != nil {
		return err
	}
	blocked := 0
	for i, j := range jobs {
		err := r.make(ctx, c, j)
		if err != nil {
			if blocked++; c.conn.IsClosed() || !ofTable(err) {
				return err
			}
			if err := r.leave(ctx, j, err); err != nil {
				return err
			}
		}
		r.meter.Pending(len(jobs) - 1 - i + blocked)
	}
	r.meter.Working(false)
	if blocked > 0 {
		return errAgain
	}
	return nil
}

// jobs lists what is to be done, what was begun first.
func (r *Runner) jobs(ctx context.Context, c *session) ([]*job, error) {
	tables, err := c.tables(ctx, r.src.Publication)
	if err != nil {
		return nil, err
	}
	stored := func() bool { _, at := r.stream.Stored(); return at >= r.newest }
	if !until(ctx, stored) {
		return nil, ctx.Err()
	}
	texts, err := r.ledger.Baselines(ctx)
	if err != nil {
		return nil, err
	}
	var jobs []*job
	for _, t := range tables {
		j := &job{table: t, state: t.begun("")}
		if text, ok := texts[t.ID]; ok {
			s, err := ReadState(text)
			if err != nil {
				return nil, err
			}
			if !s.pending(&t, r.cfg.KeylessRows) {
				continue
			}
			if !s.outdated(&t) && (s.Phase == Running || s.Phase == Blocked) {
				j.state = s
				j.state.Table = t.title()
			}
		}
		j.state.Estimate = max(t.Estimate, j.state.Rows)
		jobs = append(jobs, j)
	}
	slices.SortStableFunc(jobs, func(a, b *job) int { return rank(a) - rank(b) })
	return jobs, r.recover(ctx, jobs)
}

func rank(j *job) int {
	if j.state.Phase == Running {
		return 0
	}
	return 1
}

// recover finds out which chunks of an earlier life were stored: those whose
// position the newest stored entry has reached. Only one table is at work at a
// time, so that entry is of it.
func (r *Runner) recover(ctx context.Context, jobs []*job) error {
	for _, j := range jobs {
		if len(j.state.Chunks) == 0 {
			continue
		}
		newest, err := r.ledger.NewestBaseline(ctx, j.state.Chunks[0].Size)
		if err != nil {
			return err
		}
		j.state.recover(newest)
	}
	return nil
}

// leave goes on with other tables, where one cannot be read for now.
func (r *Runner) leave(ctx context.Context, j *job, why error) error {
	if err := r.arrive(ctx, j); err != nil {
		return err
	}
	switch {
	case refused(why) && j.state.Phase != Blocked:
		return r.block(ctx, j, why)
	case refused(why): // as was said before
	case gone(why):
		r.log.Info().Str("table", j.state.Table).Msg("table is gone or was altered, its baseline waits")
	default:
		r.log.Warn().Err(why).Str("table", j.state.Table).Msg("table cannot be read now, its baseline waits")
	}
	return nil
}

// block remembers why a table cannot be read.
func (r *Runner) block(ctx context.Context, j *job, why error) error {
	j.state.Phase, j.state.Why = Blocked, why.Error()
	r.log.Warn().Err(why).Str("table", j.state.Table).Str("hint", "pgwitness check says what the role of the sidecar lacks").Msg("table cannot be read, its baseline waits")
	return r.save(ctx, j)
}

// save keeps the state of j.
func (r *Runner) save(ctx context.Context, j *job) error {
	j.state.Updated, j.saved = time.Now().UTC(), time.Now()
	return r.ledger.SaveBaseline(ctx, j.table.ID, j.state.text())
}
