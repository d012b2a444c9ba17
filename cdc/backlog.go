package cdc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
)

const (
	// frontPause is how long a backlog waits that is told to go on although
	// there is nothing to fetch.
	frontPause = 20 * time.Millisecond
	// heldTooLong is how long a window may wait for our consumer. Its statement
	// holds a snapshot, and so keeps the server from cleaning up.
	heldTooLong = time.Minute
)

// errFront ends a backlog that has come near the end of the log: from here on
// the stream is the better lane.
var errFront = errors.New("the backlog is fetched")

// backlog is the lane of a reader that is far behind. It fetches the same
// messages as the stream, by SQL: the walsender makes a system call or two for
// every message, a COPY does not, so this is several times faster. The price is
// that the server collects a window of the log before it sends the first row. So
// there are two sessions, if the server has room for them, which take the windows
// in turn: while one window is read, the server collects the next.
//
// A session consumes from a temporary copy of the slot, its cursor, so that it
// need not wait until a window is stored before it asks for another one. The slot
// itself is advanced to what was confirmed, by the advancer, and so keeps the
// log of everything that is not stored. When the sessions end, whyever, the
// cursors are gone and the slot is where the next lane begins.
type backlog struct {
	reading  *fetcher  // of the window that is read now, or was last
	ahead    *fetcher  // of the window behind it; nil: there is one session only
	line     *sideline // for questions about a cursor
	advancer *advancer
	log      zerolog.Logger

	window  uint64 // bytes of log to fetch at once, at most
	near    uint64 // the lane ends when less than that is left; 0 means never
	silence time.Duration

	position audit.LSN // everything below was fetched
	heard    time.Time // when the last message was read
	given    time.Time // when the last one was asked for
}

// leastWindow is the size of a window where nothing speaks for a larger one.
const leastWindow = 64 << 20

// advance moves a slot that nobody reads, and that is not beyond the position.
func advance(ctx context.Context, conn *pgconn.PgConn, slot string, to audit.LSN) error {
	_, err := askOne(ctx, conn, "SELECT end_lsn FROM pg_catalog.pg_replication_slot_advance($1, "+literal(to.String())+")", slot)
	if err != nil {
		return explainStart(slot, err)
	}
	return nil
}

// next implements lane.
func (b *backlog) next(ctx context.Context, deadline time.Time) (frame, error) {
	if err := b.advancer.failure(); err != nil {
		return frame{}, err
	}
	if !b.reading.running {
		if f, begun, err := b.begin(ctx, deadline); !begun {
			return f, err
		}
	}
	for s := b.reading; ; {
		if !s.wire.more() {
			if err := s.arm(ctx, deadline); err != nil {
				return frame{}, err
			}
			b.given = time.Now()
		}
		kind, body, err := s.wire.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return frame{}, b.stillThere(ctx)
		}
		if err != nil {
			return frame{}, fmt.Errorf("read backlog: %w", broken(err))
		}
		if !s.wire.more() {
			b.heard = time.Now()
		}
		f, ok, err := s.frame(kind, body)
		if ok || err != nil {
			return f, err
		}
	}
}

// begin is what happens where the window that was read has ended, or none has
// begun: the caller learns how far its cursor has come, the lane ends, or the
// next window begins.
func (b *backlog) begin(ctx context.Context, deadline time.Time) (f frame, begun bool, err error) {
	slot, err := b.slot(ctx)
	if err != nil || ctx.Err() != nil {
		return frame{}, false, err
	}
	if slot.ConfirmedFlush > b.position {
		return b.reached(slot)
	}
	switch left := between(b.position, slot.CurrentLSN); {
	case left < b.near:
		return frame{}, false, errFront
	case left == 0:
		pause(ctx, earlier(deadline, time.Now().Add(frontPause)))
		return frame{}, false, nil
	}
	b.heard = time.Now()
	if err = b.reading.fetch(b.position, b.end(b.position, slot)); err == nil {
		err = b.fetchAhead(slot)
	}
	return frame{}, err == nil, err
}

// reached takes note of how far the cursor of the window that has ended has
// come, and goes over to the window behind it if that is being fetched.
func (b *backlog) reached(slot SlotState) (f frame, begun bool, err error) {
	b.position = slot.ConfirmedFlush
	if b.ahead != nil && b.ahead.running {
		if slot.ConfirmedFlush < b.ahead.from {
			return frame{}, false, fmt.Errorf("read backlog: the window up to %s ended at %s: %w", b.ahead.from, slot.ConfirmedFlush, errOrder)
		}
		b.position = b.ahead.from
		b.reading, b.ahead = b.ahead, b.reading
		b.heard = time.Now()
		err = b.fetchAhead(slot)
	}
	return frame{walEnd: b.position, wanted: true}, false, err
}

// fetchAhead lets the other session begin with the window behind the one that is
// read, unless that is left to the stream.
func (b *backlog) fetchAhead(slot SlotState) error {
	from := b.reading.upto
	if b.ahead == nil || between(from, slot.CurrentLSN) < max(b.near, 1) {
		return nil
	}
	return b.ahead.fetch(from, b.end(from, slot))
}

// end is where a window ends that begins at from. The server reads again from
// where the cursor would restart, and passes over that in a fraction of the time that
// the window takes if that is half as large. It does not reach beyond what is
// written, so that the window behind it can begin exactly there.
func (b *backlog) end(from audit.LSN, slot SlotState) audit.LSN {
	size := min(b.window, max(between(slot.Restart, from)/2, leastWindow))
	return min(from+audit.LSN(size), slot.CurrentLSN)
}

// slot reads the state of the cursor of the window that is read, or was last.
func (b *backlog) slot(ctx context.Context) (s SlotState, err error) {
	err = b.line.do(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		s, err = readSlot(ctx, conn, b.reading.cursor)
		return err
	})
	if ctx.Err() != nil {
		return s, nil
	}
	return s, err
}

// stillThere looks whether the server works on a window of which it has not
// sent anything for long: it may have to read far back, or be gone.
func (b *backlog) stillThere(ctx context.Context) error {
	if ctx.Err() != nil || time.Since(b.heard) < b.silence {
		return nil
	}
	slot, err := b.slot(ctx)
	if err == nil && slot.ActivePID != int(b.reading.hijacked.PID) {
		err = errSilence
	}
	if err != nil {
		return fmt.Errorf("read backlog: nothing for %s: %w", time.Since(b.heard).Round(time.Second), err)
	}
	b.heard = time.Now()
	return nil
}

// confirm implements lane. A window that our consumer does not take is given
// up, with everything else of this life: what was stored is not fetched again.
func (b *backlog) confirm(durable audit.LSN) error {
	if b.reading.running && !b.given.IsZero() && b.heard.After(b.given) && time.Since(b.heard) > heldTooLong {
		return fmt.Errorf("read backlog: nobody has taken anything for %s, and the server must not wait that long", heldTooLong)
	}
	b.advancer.to(durable)
	return nil
}

// close implements lane.
func (b *backlog) close(ctx context.Context) error {
	b.reading.hangUp()
	if b.ahead != nil {
		b.ahead.hangUp()
	}
	return errors.Join(b.line.close(ctx), b.advancer.close(ctx))
}

// pause waits until the deadline or the end of ctx.
func pause(ctx context.Context, deadline time.Time) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
