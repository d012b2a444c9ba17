// Package sink stores batches of sealed entries in ClickHouse, each exactly
// once.
//
// One batch is one insert, one block, one part: ClickHouse stores all of it or
// nothing. After every insert the head of the chain is read back, and only what
// is read back counts as stored. When the outcome of an insert is unknown (the
// connection broke, the server died, a timeout passed), the insert is first
// fenced, so that it cannot be stored later, and then the head decides: ours
// means done, the old one means try again, anything else means that somebody
// else writes this chain: a sidecar that reads the same log and seals the same
// entries (ErrOvertaken), or a stranger, and then a human must look.
//
// The package never drops an entry, never changes a stored one, never guesses
// whether an insert was stored, and never acknowledges anything to PostgreSQL.
package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Sink writes the chain of one stream. Insert and Recover belong to one
// goroutine; Prepare, SavePosition, Genesis and Stats may run beside it.
type Sink struct {
	cfg    Config
	stream string
	log    zerolog.Logger

	inserts link // the connection of Insert and Recover
	asides  link // the connection of everything else

	spare chan *store.Columns // blocks between two batches

	mu    sync.Mutex
	stats Stats
}

// New makes a sink. It connects at first use.
func New(server store.Server, cfg Config, stream string, log zerolog.Logger) *Sink {
	return &Sink{
		cfg: cfg, stream: stream,
		log:     log.With().Str("component", "sink").Str("stream", stream).Logger(),
		inserts: link{server: server}, asides: link{server: server},
		spare: make(chan *store.Columns, 2),
	}
}

// Close closes the connections. An insert that is still running is not
// awaited: the next start fences it.
func (s *Sink) Close() error { return errors.Join(s.inserts.close(), s.asides.close()) }

// Insert stores b behind head, which must be the stored head, and returns the
// new one. It returns only when b is stored, when ctx ends, when another sidecar
// was quicker (ErrOvertaken), or when a human must look: whatever the server
// answers in between is reported (Stats, log) and tried again, because an entry
// is never dropped.
//
// If ctx ends first, the outcome is unknown; b may be inserted again, and the
// next start resolves it by Recover. After success b must not be used again.
func (s *Sink) Insert(ctx context.Context, head audit.Head, b *Batch) (audit.Head, error) {
	if err := b.follows(head); err != nil {
		return audit.Head{}, err
	}
	begun := time.Now()
	swallowed := 0
	for attempt := 1; ; attempt++ {
		failure := s.send(ctx, b, attempt, swallowed)
		stored, err := s.settle(ctx, head, b, attempt, failure)
		if err != nil {
			return audit.Head{}, err
		}
		if stored {
			s.succeeded(b, time.Since(begun))
			s.release(b)
			return b.head, nil
		}
		if failure == nil {
			// The server dropped the insert as a repetition, and yet it is
			// not there: it died between noting the token and keeping the
			// part, or somebody else used our token. The next token is
			// derived from the count, so that two writers still exclude
			// each other.
			swallowed++
			failure = errors.New("server took the insert for a repetition and did not store it")
			s.failed(failure)
		}
		if err := s.pause(ctx, b, attempt, failure); err != nil {
			return audit.Head{}, err
		}
	}
}

// settle finds out whether b is stored after an attempt that ended with
// failure, nil for success. It repeats fence and read until the server answers
// both or ctx ends.
func (s *Sink) settle(ctx context.Context, head audit.Head, b *Batch, attempt int, failure error) (bool, error) {
	for ; ; attempt++ {
		if failure != nil {
			s.failed(failure)
		}
		got, err := s.settleOnce(ctx, head, failure)
		if err == nil {
			var stored bool
			var end error
			if stored, end, err = s.judge(ctx, b, head, got); err == nil {
				return stored, end
			}
		}
		if errors.Is(err, audit.ErrNeedsHuman) {
			return false, fmt.Errorf("insert entries %d to %d of stream %s: %w", b.first, b.head.Size-1, s.stream, err)
		}
		failure = err // from now on the connection is a new one: fence
		if err := s.pause(ctx, b, attempt, failure); err != nil {
			return false, err
		}
	}
}

func (s *Sink) settleOnce(ctx context.Context, head audit.Head, failure error) (audit.Head, error) {
	if failure != nil {
		if err := s.fence(ctx); err != nil {
			return audit.Head{}, err
		}
	}
	return s.headSince(ctx, head)
}

// pause logs a failure and waits before the next attempt: 100 ms, doubled with
// each, up to MaxBackoff.
func (s *Sink) pause(ctx context.Context, b *Batch, attempt int, failure error) error {
	wait := min(s.cfg.MaxBackoff, 100*time.Millisecond<<min(attempt-1, 20))
	if ctx.Err() == nil {
		s.log.Warn().Err(failure).Str("hint", audit.Hint(failure)).Int("code", store.Code(failure)).
			Uint64("first", b.first).Int("rows", b.Rows()).Int("attempt", attempt).Dur("wait", wait).
			Msg("insert failed, trying again")
	}
	if err := sleep(ctx, wait); err != nil {
		return fmt.Errorf("insert entries %d to %d of stream %s: outcome unknown, the next start resolves it: %w",
			b.first, b.head.Size-1, s.stream, errors.Join(err, failure))
	}
	return nil
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
