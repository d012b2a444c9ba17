package pgwitness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
)

// storage makes batches and positions durable. It has two modes:
//
//	direct    a batch is one insert into ClickHouse, a position a row there
//	spooling  both go to the spool on the local disk, from where drain brings
//	          them to ClickHouse in order
//
// keep and save switch to spooling when pressure says that ClickHouse is too
// slow for the log that the server has to hold; drain switches back when the
// spool is empty. There is no third place where the mode changes.
//
// The order of truth is that of the chain: what ClickHouse has, then what the
// spool has behind it, then the log behind the slot.
type storage struct {
	stream  string
	sink    *sink.Sink
	spool   *spool.Spool
	vault   *personal // brought to ClickHouse before any entry; nil: nothing is personal
	limits  BatchConfig
	limit   int64       // spool.Config.MaxRetainedWAL
	known   spool.Known // remembered with each position; Head and Position are filled in
	stored  func(context.Context) (audit.Head, error)
	slot    func(context.Context) (cdc.SlotState, error)
	states  *states
	metrics *metrics
	marks   *marks
	log     zerolog.Logger

	pressure pressure

	mu       sync.Mutex // held while the mode changes and while the spool is written to
	spooling bool
	failing  bool          // the spool could not be written to the last time
	end      audit.Head    // behind the last entry that was kept
	begun    chan struct{} // capacity 1: spooling has begun

	knowing      sync.Mutex  // held while last is replaced
	last         spool.Known // as it was remembered last
	unrepeatable bool        // a redelivery would not make the same entries
}

const (
	// spoolPause is how long a full spool, or ClickHouse while the spool waits
	// for it, is left alone before it is tried again.
	spoolPause = time.Second
	// drainRows is how many spooled entries are inserted at a time: their columns
	// are in memory beside those of two batches that wait to be spooled.
	drainRows = 10_000
	// pressurePause is how often the slot is looked at.
	pressurePause = time.Second
)

// spoolingState is what /readyz says of a stream that is spooling.
const spoolingState = "spooling: ClickHouse does not take entries as fast as they come"

// errLater is returned by save when the position could not be saved for now.
// Nothing may be acknowledged; the next call may do better.
var errLater = errors.New("position not saved yet")

// errNotSpooling says that drain has switched back to direct in this moment.
var errNotSpooling = errors.New("not spooling any more")

// errTakeUp ends a life of the stream whose head was out of date: it began while
// ClickHouse could not be asked, and the trail is further than was known.
var errTakeUp = errors.New("the trail is further than was known when the stream was taken up without it")

// keep makes a batch durable: the commit point. It returns only when that is
// done, when ctx ends, or when a human must look. A batch whose insert was
// broken off goes to the spool although it may be stored as well: drain finds
// that out from the head, before anything is inserted.
func (s *storage) keep(ctx context.Context, next parcel) error {
	if next.prepared == nil {
		return nil
	}
	for {
		if !s.isSpooling() {
			err := s.insert(ctx, next)
			if !errors.Is(err, errPressed) {
				return err
			}
			s.beginSpooling()
		}
		err := s.toSpool(func() error {
			end, err := s.spool.Append(next.batch.before, next.prepared.Entries())
			if err == nil {
				s.end = end
			}
			return err
		})
		switch {
		case err == nil:
			s.sink.Discard(next.prepared)
			return nil
		case errors.Is(err, errNotSpooling):
			continue
		case errors.Is(err, audit.ErrNeedsHuman):
			return err
		}
		// Full, or the disk is. Nothing is acknowledged until there is room: the
		// server has to keep the log after all.
		if !sleep(ctx, spoolPause) {
			return context.Cause(ctx)
		}
	}
}

// save makes durable that everything below lsn is kept, in the place where the
// next start will look: then lsn may be acknowledged.
func (s *storage) save(ctx context.Context, lsn audit.LSN) error {
	for {
		if !s.isSpooling() {
			err := s.pressure.during(ctx, func(ctx context.Context) error { return s.sink.SavePosition(ctx, lsn) })
			if err == nil {
				s.mu.Lock()
				end := s.end
				s.mu.Unlock()
				s.remember(end, lsn)
				return nil
			}
			if !errors.Is(err, errPressed) {
				return fmt.Errorf("save position %s: %w", lsn, err)
			}
			s.beginSpooling()
		}
		err := s.toSpool(func() error { return s.spool.Save(s.end, lsn) })
		if err == nil || errors.Is(err, audit.ErrNeedsHuman) {
			return err
		}
		if !errors.Is(err, errNotSpooling) {
			return fmt.Errorf("%w: %w", errLater, err)
		}
	}
}

// insert is keep in direct mode.
func (s *storage) insert(ctx context.Context, next parcel) error {
	began := time.Now()
	err := s.pressure.during(ctx, func(ctx context.Context) error {
		if err := s.vault.flush(ctx); err != nil {
			return err
		}
		_, err := s.sink.Insert(ctx, next.batch.before, next.prepared)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.end = next.batch.after
	s.mu.Unlock()
	s.inserted(next.batch, began)
	return nil
}

// inserted counts a batch that is stored in ClickHouse.
func (s *storage) inserted(b *batch, began time.Time) {
	now := time.Now()
	s.metrics.stored(s.stream, b, now.Sub(began), now)
	s.marks.entries.Store(b.after.Size)
	s.marks.stored.Store(uint64(b.after.Position.CommitLSN))
	s.log.Debug().Int("rows", b.rows).Uint64("size", b.after.Size).Dur("took", now.Sub(began)).Msg("batch stored")
}

func (s *storage) isSpooling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spooling
}

// beginSpooling switches from direct to spooling.
func (s *storage) beginSpooling() {
	s.mu.Lock()
	s.spooling = true
	end := s.end
	s.mu.Unlock()
	s.pressure.release()
	s.states.set(s.stream, true, spoolingState)
	s.log.Warn().Uint64("size", end.Size).Str("hint", "pgwitness status shows the spool; is ClickHouse up, and fast enough?").
		Msg("spooling begins")
	s.begun <- struct{}{}
}

// toSpool runs something that writes to the spool.
func (s *storage) toSpool(write func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.spooling {
		return errNotSpooling
	}
	err := write()
	s.metrics.spooled(s.stream, s.spool.State(), true)
	if err != nil && !s.failing {
		s.log.Error().Err(err).Str("hint", audit.Hint(err)).Msg("spool cannot be written to, nothing is acknowledged meanwhile")
	}
	if s.failing = err != nil; s.failing {
		s.metrics.spoolFailures.WithLabelValues(s.stream).Inc()
	}
	return err
}

// remember keeps a copy of what the next start must know if it cannot ask
// ClickHouse. Without it that start waits, so a failure is no reason to stop.
func (s *storage) remember(head audit.Head, lsn audit.LSN) {
	s.knowing.Lock()
	defer s.knowing.Unlock()
	s.last = s.known
	s.last.Head, s.last.Position = head, lsn
	s.rememberLast()
}

func (s *storage) rememberLast() {
	k := s.last
	if s.unrepeatable {
		k.Configuration += " baseline" // no start has that one
	}
	if err := s.spool.Remember(k); err != nil {
		s.log.Warn().Err(err).Msg("a start without clickhouse will have to wait for it")
	}
}

// setUnrepeatable says whether entries are made that a redelivery would not
// make again, those of the baseline: then a start has to know the very head
// that was stored, and so waits for ClickHouse unless the spool tells.
func (s *storage) setUnrepeatable(yes bool) {
	s.knowing.Lock()
	defer s.knowing.Unlock()
	if s.unrepeatable = yes; yes && s.last.Position != 0 {
		s.rememberLast()
	}
}

// drain brings to ClickHouse what is spooled, whenever something is, until ctx
// ends.
func (s *storage) drain(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.begun:
		}
		if err := s.drainOnce(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // the spool keeps the rest for the next start
			}
			return err
		}
	}
}

// drainOnce waits for ClickHouse, inserts what is spooled behind the head that
// it finds there, and returns when the spool is empty and the mode direct.
//
// A crash anywhere in it leaves a head in ClickHouse and segments that reach up
// to it or beyond: the next start passes over what is stored.
func (s *storage) drainOnce(ctx context.Context) error {
	head, err := s.await(ctx)
	if err != nil {
		return err
	}
	if end, ok := s.spool.End(); ok && head.Size > end.Size {
		return errTakeUp
	}
	if err := s.spool.Seek(head); err != nil {
		return err
	}
	s.log.Info().Uint64("size", head.Size).Uint64("entries", s.spool.State().Entries).Msg("spool drains")
	for {
		next, oldest, err := s.layOut()
		if err != nil {
			return err
		}
		if next == nil {
			if done, err := s.finish(ctx, head); done || err != nil {
				return err
			}
			continue
		}
		if !next.Follows(head) {
			return errTakeUp
		}
		if head, err = s.move(ctx, head, next, oldest); err != nil {
			return err
		}
	}
}

// layOut prepares what one insert takes of the spool, nil when it is empty.
// oldest is the commit time of its first entry.
func (s *storage) layOut() (next *sink.Batch, oldest int64, err error) {
	_, err = s.spool.Next(min(s.limits.Rows, drainRows), s.limits.Bytes, sink.SameMonth, func(entries []audit.Entry) (err error) {
		if next == nil {
			oldest = entries[0].Timestamp
		}
		if next, err = s.sink.Append(next, entries); err != nil {
			return fmt.Errorf("prepare spooled batch: %w", err)
		}
		return nil
	})
	return next, oldest, err
}

// await returns the stored head once ClickHouse tells it, with no insert in
// flight that could move it afterwards.
func (s *storage) await(ctx context.Context) (audit.Head, error) {
	for {
		head, err := s.stored(ctx)
		if err == nil || errors.Is(err, audit.ErrNeedsHuman) {
			return head, err
		}
		s.log.Debug().Err(err).Msg("spool waits for clickhouse")
		if !sleep(ctx, spoolPause) {
			return head, context.Cause(ctx)
		}
	}
}

// move inserts entries of the spool, and deletes what is not needed any more.
func (s *storage) move(ctx context.Context, head audit.Head, next *sink.Batch, oldest int64) (audit.Head, error) {
	b := &batch{before: head, after: next.Head(), rows: next.Rows(), oldest: oldest}
	began := time.Now()
	err := s.vault.flush(ctx)
	if err != nil {
		return head, err
	}
	if head, err = s.sink.Insert(ctx, head, next); err != nil {
		return head, err
	}
	s.inserted(b, began)
	err = s.spool.Drop(head)
	s.metrics.spooled(s.stream, s.spool.State(), true)
	return head, err
}

// finish switches from spooling to direct, if nothing was spooled since drain
// had the last look. Before the spool is emptied, the position that is saved in
// it is saved in ClickHouse.
func (s *storage) finish(ctx context.Context, head audit.Head) (done bool, err error) {
	saved := s.spool.Saved()
	if saved > 0 {
		if err := s.sink.SavePosition(ctx, saved); err != nil {
			s.log.Debug().Err(err).Msg("position of the spool not saved yet")
			if !sleep(ctx, spoolPause) {
				return false, context.Cause(ctx)
			}
			return false, nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.spool.End(); !ok && head != s.end {
		return false, errTakeUp
	}
	if saved > 0 {
		s.remember(head, saved)
	}
	if done, err = s.spool.Clear(head, saved); !done || err != nil {
		return false, err
	}
	s.spooling = false
	s.metrics.spooled(s.stream, s.spool.State(), false)
	s.states.set(s.stream, true, "streaming")
	s.log.Info().Uint64("size", head.Size).Msg("spool is empty, spooling ends")
	return true, nil
}

// leave empties the spool before a stream stops for good with err, if that can
// be done now: the operator may have to accept a gap, which lies behind what is
// spooled. The pipeline has ended, or has not begun.
func (s *storage) leave(ctx context.Context, err error) error {
	if !errors.Is(err, audit.ErrNeedsHuman) || !s.isSpooling() {
		return err
	}
	if _, away := s.stored(ctx); away != nil {
		return err // the next start will try again
	}
	if drained := s.drainOnce(ctx); drained != nil {
		return errors.Join(err, drained)
	}
	return err
}

// watch looks at the slot every second and tells pressure, until ctx ends.
func (s *storage) watch(ctx context.Context) error {
	for sleep(ctx, pressurePause) {
		slot, err := s.slot(ctx)
		if err != nil {
			continue // the reader will notice, and tell
		}
		now := time.Now()
		s.pressure.look(tooMuch(slot, s.limit), now)
		s.vault.look(tooMuch(slot, s.limit), now)
		s.metrics.spooled(s.stream, s.spool.State(), s.isSpooling())
	}
	return nil
}

// marshal renders what is remembered; types of ours always can be.
func marshal(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		return nil // recalled as something that does not fit, and then not used
	}
	return text
}
