package baseline

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

const (
	// maxLag is how much log the stream may have before it without the
	// baseline waiting for it.
	maxLag = 64 << 20
	// maxChunks is how many chunks may be on their way into the trail.
	maxChunks = 64
	// smallestChunk is below what a chunk is not made smaller, in rows.
	smallestChunk = 64
	// patience is how long a wait may take before status shows it.
	patience = time.Second
	// wholeTable is the key of the only chunk of a table without one.
	wholeTable = "whole table"
)

// settle waits until every transaction has ended that is open now. The log that
// is followed since may lack the commit of one of them, because it was read in
// an earlier life; a later snapshot sees it, or it commits where we see it.
func (r *Runner) settle(ctx context.Context, c *session, j *job) error {
	own, err := c.ask(ctx, "take transaction id", "SELECT pg_catalog.pg_current_xact_id() AS xid")
	if err != nil {
		return err
	}
	limit, err := strconv.ParseUint(own.value("xid"), 10, 64)
	if err != nil {
		return fmt.Errorf("take transaction id: %w", err)
	}
	began, told := time.Now(), false
	for {
		s, err := c.snapshot(ctx)
		if err != nil {
			return err
		}
		r.desk.Seen(s)
		if s.Min > limit {
			return nil
		}
		if !told && time.Since(began) > patience {
			told = true
			if j.state.Phase != Running {
				j.state.Phase = Waiting
			}
			j.state.Why = "waits for transactions that were open when the stream was taken up: " + running(s, limit)
			r.log.Info().Str("transactions", running(s, limit)).Msg("baseline waits for transactions that were open at the start")
			if err := r.save(ctx, j); err != nil {
				return err
			}
		}
		if r.await(ctx, glance); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// running lists the transactions up to limit that s did not see.
func running(s audit.Snapshot, limit uint64) string {
	var list []string
	for _, xid := range s.Running {
		if xid > limit {
			break
		}
		if len(list) == 5 {
			list = append(list, "…")
			break
		}
		list = append(list, strconv.FormatUint(xid, 10))
	}
	return strings.Join(list, ", ")
}

// startedDetails are those of the entry baseline_started.
type startedDetails struct {
	Estimate  uint64   `json:"rows_estimated"`
	Key       []string `json:"key"`
	ChunkRows int      `json:"chunk_rows"`
}

// completedDetails are those of the entry baseline_completed.
type completedDetails struct {
	Rows    uint64 `json:"rows"`
	Retried int    `json:"chunks_retried"`
}

// skippedDetails are those of the entry baseline_skipped.
type skippedDetails struct {
	Why string `json:"reason"`
}

// make makes the baseline of one table.
//
// A crash before the state is saved that a step leads to makes the next start
// repeat the step: baseline_started and baseline_completed may be there twice,
// an entry of a row never.
func (r *Runner) make(ctx context.Context, c *session, j *job) error {
	t := &j.table
	r.chunk, j.began, j.state.Why = r.cfg.ChunkRows, time.Now(), ""
	if len(t.Key) == 0 {
		return r.makeWhole(ctx, c, j)
	}
	if j.state.Phase != Running {
		if err := r.begin(ctx, c, j); err != nil {
			return err
		}
	}
	retried := 0
	for last := false; !last; {
		if err := r.slow(ctx, c, j); err != nil {
			return err
		}
		p, o, err := r.chunkOf(ctx, c, j)
		if err != nil {
			return err
		}
		if !o.Made {
			retried++
			r.again(ctx, j, o, retried)
			continue
		}
		last = p.last
		r.made(j, o)
	}
	return r.complete(ctx, c, j, retried)
}

// begin writes baseline_started. It comes before the first low mark, so that
// whatever is inserted from then on comes behind it.
func (r *Runner) begin(ctx context.Context, c *session, j *job) error {
	t := &j.table
	// A glance at the rows, so that a table that we may not read is not begun.
	if _, err := c.read(ctx, audit.ChunkID{}, t, nil, bounds{1, 1}); err != nil {
		return err
	}
	err := c.write(ctx, r.src.Key, note{Action: "baseline_started", Schema: t.Schema, Table: t.Name,
		Details: startedDetails{j.state.Estimate, t.key(), r.cfg.ChunkRows}})
	if err != nil {
		return err
	}
	estimate := j.state.Estimate
	j.state = t.begun(Running)
	j.state.Estimate, j.state.Began = estimate, time.Now().UTC()
	r.log.Info().Str("table", j.state.Table).Uint64("estimate", j.state.Estimate).Msg("baseline begins")
	return r.save(ctx, j)
}

// chunkOf reads the next chunk and sees it through. When it was made, its step
// is in the state, and saved.
//
// A crash before the high mark, or before its entries are stored, leaves a step
// that the position of the newest stored entry has not reached: the next start
// drops it and reads the chunk again.
func (r *Runner) chunkOf(ctx context.Context, c *session, j *job) (portion, audit.Outcome, error) {
	var id audit.ChunkID
	if _, err := rand.Read(id[:]); err != nil {
		return portion{}, audit.Outcome{}, err
	}
	done := r.desk.Expect(id, j.table.ID, j.table.key())
	defer r.withdraw(done)
	if err := c.low(ctx, r.src.Key, id); err != nil {
		return portion{}, audit.Outcome{}, err
	}
	p, err := c.read(ctx, id, &j.table, j.state.last(), r.bounds())
	if err != nil {
		return p, audit.Outcome{}, err
	}
	o, err := r.handIn(ctx, c, j, p, done)
	return p, o, err
}

// handIn saves the step, writes the high mark and waits for the outcome.
func (r *Runner) handIn(ctx context.Context, c *session, j *job, p portion, done <-chan audit.Outcome) (audit.Outcome, error) {
	key := keyOf(&j.table, p.chunk)
	switch {
	case len(j.table.Key) == 0:
		key = []string{wholeTable}
	case key == nil: // no row is left
		key = j.state.last()
	}
	size, _ := r.stream.Stored()
	steps := len(j.state.Chunks)
	j.state.Chunks = append(j.state.Chunks, step{Key: key, After: p.position, Size: size})
	if err := r.save(ctx, j); err != nil {
		return audit.Outcome{}, err
	}
	r.desk.Hand(p.chunk)
	if err := c.high(ctx, r.src.Key, p.chunk.ID); err != nil {
		j.state.Chunks = j.state.Chunks[:steps] // if it was written after all, the saved state has it
		return audit.Outcome{}, err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return audit.Outcome{}, ctx.Err()
		case <-tick.C:
			s, err := c.snapshot(ctx)
			if err != nil {
				return audit.Outcome{}, err
			}
			r.desk.Seen(s)
		case o := <-done:
			if o.Made {
				r.noteMade(o)
				s := &j.state.Chunks[steps]
				s.At, s.Entries = o.Position, o.Entries
			} else {
				j.state.Chunks = j.state.Chunks[:steps]
			}
			return o, nil
		}
	}
}

// withdraw gives a window up, if it was not seen through. Its entries may have
// been made in this very moment; after it they are not.
func (r *Runner) withdraw(done <-chan audit.Outcome) {
	r.desk.Withdraw()
	select {
	case o := <-done:
		r.noteMade(o)
	default:
	}
}

// noteMade remembers up to where entries were made. Until they are stored, what
// is stored does not tell which chunks are done.
func (r *Runner) noteMade(o audit.Outcome) {
	if o.Made && o.Entries > 0 {
		r.newest = o.Position
	}
}

func (r *Runner) bounds() bounds {
	rows := r.chunk
	if n := r.cfg.RowsPerSecond; n > 0 {
		rows = min(rows, n)
	}
	return bounds{rows, chunkBytes}
}

// made counts a chunk.
func (r *Runner) made(j *job, o audit.Outcome) {
	j.made += o.Entries
	j.state.Rows += uint64(o.Entries)
	j.state.Estimate = max(j.state.Estimate, j.state.Rows)
	j.state.Rate = float64(j.made) / max(time.Since(j.began).Seconds(), 0.001)
	_, at := r.stream.Stored()
	j.state.stored(at)
	r.meter.Made(o.Entries)
	r.log.Debug().Str("table", j.state.Table).Int("rows", o.Entries).Stringer("lsn", o.Position).Msg("chunk made")
}

// again prepares another attempt at a chunk.
func (r *Runner) again(ctx context.Context, j *job, o audit.Outcome, retried int) {
	r.meter.Retried()
	if o.TooMuch {
		r.chunk = max(r.chunk/2, min(r.cfg.ChunkRows, smallestChunk))
	}
	r.log.Debug().Str("table", j.state.Table).Str("why", o.Why).Int("retried", retried).Int("chunk_rows", r.chunk).Msg("chunk is read again")
	r.await(ctx, glance/2)
}

// slow waits as long as the stream has enough to do, and for the throttle.
func (r *Runner) slow(ctx context.Context, c *session, j *job) error {
	if n := r.cfg.RowsPerSecond; n > 0 {
		due := j.began.Add(time.Duration(float64(j.made) / float64(n) * float64(time.Second)))
		if !until(ctx, func() bool { return !time.Now().Before(due) }) {
			return ctx.Err()
		}
	}
	for {
		_, at := r.stream.Stored()
		j.state.stored(at)
		lag, err := r.lag(ctx, c)
		if err != nil {
			return err
		}
		if lag <= maxLag && len(j.state.Chunks) < maxChunks && r.stream.Ready() {
			return nil
		}
		s, err := c.snapshot(ctx)
		if err != nil {
			return err
		}
		r.desk.Seen(s)
		if r.await(ctx, glance); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// lag is the log that was written and not taken in yet.
func (r *Runner) lag(ctx context.Context, c *session) (audit.LSN, error) {
	read := r.stream.Read()
	if read == 0 {
		return 0, nil
	}
	a, err := c.ask(ctx, "read position", "SELECT pg_catalog.pg_current_wal_lsn() AS position")
	if err != nil {
		return 0, err
	}
	now, err := audit.ParseLSN(a.value("position"))
	return max(now, read) - read, err
}

// arrive waits until all entries of the table that were made are stored.
func (r *Runner) arrive(ctx context.Context, j *job) error {
	ended := until(ctx, func() bool {
		_, at := r.stream.Stored()
		j.state.stored(at)
		return len(j.state.Chunks) == 0
	})
	if !ended {
		return ctx.Err()
	}
	return nil
}

// complete waits until all entries are stored, and only then says that the
// table is done: so whoever finds that said finds the rows.
func (r *Runner) complete(ctx context.Context, c *session, j *job, retried int) error {
	if err := r.arrive(ctx, j); err != nil {
		return err
	}
	err := c.write(ctx, r.src.Key, note{Action: "baseline_completed", Schema: j.table.Schema, Table: j.table.Name,
		Details: completedDetails{j.state.Rows, retried}})
	if err != nil {
		return err
	}
	took := time.Since(j.began)
	r.log.Info().Str("table", j.state.Table).Uint64("rows", j.state.Rows).Int("retried", retried).
		Dur("took", took).Int("rows_per_second", int(float64(j.made)/max(took.Seconds(), 0.001))).Msg("baseline completed")
	// What is left is what status shows. No key stays behind.
	done := j.state
	j.state = j.table.begun(Completed)
	j.state.Rows, j.state.Estimate, j.state.Rate, j.state.Began = done.Rows, done.Rows, done.Rate, done.Began
	return r.save(ctx, j)
}

// makeWhole makes the baseline of a table without a key: one chunk, which takes
// the place of all that the trail knows of the table.
func (r *Runner) makeWhole(ctx context.Context, c *session, j *job) error {
	t := &j.table
	if j.state.Phase == Running && j.state.Key != nil {
		return r.complete(ctx, c, j, 0) // it was stored, and then there was a crash
	}
	if t.Estimate > uint64(r.cfg.KeylessRows) {
		return r.skip(ctx, c, j, fmt.Sprintf("it has no key and about %d rows, more than keyless_rows", t.Estimate))
	}
	j.state = t.begun(Running)
	j.state.Estimate, j.state.Began = t.Estimate, time.Now().UTC()
	for retried := 0; ; retried++ {
		if err := r.slow(ctx, c, j); err != nil {
			return err
		}
		o, why, err := r.whole(ctx, c, j)
		if err != nil {
			return err
		}
		if why != "" {
			return r.skip(ctx, c, j, why)
		}
		if o.Made {
			r.made(j, audit.Outcome{Made: true, Entries: o.Entries - 1, Position: o.Position}) // one is baseline_started
			return r.complete(ctx, c, j, retried)
		}
		r.again(ctx, j, o, retried)
	}
}

// whole is chunkOf for a table without a key; why says that it is too large.
func (r *Runner) whole(ctx context.Context, c *session, j *job) (o audit.Outcome, why string, err error) {
	var id audit.ChunkID
	if _, err := rand.Read(id[:]); err != nil {
		return o, "", err
	}
	done := r.desk.Expect(id, j.table.ID, nil)
	defer r.withdraw(done)
	if err := c.low(ctx, r.src.Key, id); err != nil {
		return o, "", err
	}
	p, err := c.read(ctx, id, &j.table, nil, bounds{r.cfg.KeylessRows + 1, keylessBytes})
	if err != nil {
		return o, "", err
	}
	if !p.last {
		return o, fmt.Sprintf("it has no key, and more than %d rows or %d MiB", r.cfg.KeylessRows, keylessBytes>>20), nil
	}
	p.chunk.Restart = true
	o, err = r.handIn(ctx, c, j, p, done)
	return o, "", err
}

// skip records that a table has no baseline.
func (r *Runner) skip(ctx context.Context, c *session, j *job, why string) error {
	t := &j.table
	if err := c.write(ctx, r.src.Key, note{Action: "baseline_skipped", Schema: t.Schema, Table: t.Name, Details: skippedDetails{why}}); err != nil {
		return err
	}
	j.state = t.begun(Skipped)
	j.state.Why, j.state.Estimate, j.state.Limit = why, t.Estimate, r.cfg.KeylessRows
	r.log.Warn().Str("table", j.state.Table).Str("why", why).
		Str("hint", "give it a primary key, or raise baseline.keyless_rows").Msg("baseline skipped")
	return r.save(ctx, j)
}
