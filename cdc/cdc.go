// Package cdc captures: it owns the replication connection to the audited
// database, reads the messages of pgoutput, decodes them, and delivers the
// committed transactions in the order of their commits, whole or, when they are
// large, in parts. It reports to the server what its consumer has stored, so
// that a restart goes on behind it.
//
// The road of a message: a lane gives frames (stream, from a walsender; backlog,
// by SQL, when the end of the log is far away), the decoder reads them, the assembler makes transactions and feeds of them, and
// the Reader delivers those. One goroutine walks it, from the socket to the
// channel, and keeps the server content meanwhile.
//
// A message that cannot be decoded ends the reading with its position and its
// bytes. This package never skips a change, never acknowledges what its
// consumer has not called durable, and never drops a replication slot.
package cdc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
)

// replyPause is the shortest time between two answers that say the same.
const replyPause = 100 * time.Millisecond

// Reader reads one replication slot. Acknowledge and Slot may be called by any
// goroutine at any time; Run and Close by one at a time.
type Reader struct {
	cfg  Config
	keys KeySource
	log  zerolog.Logger
	line sideline // for Slot

	acked atomic.Uint64 // audit.LSN; everything below is stored

	// Owned by Run, and by Close between two runs.
	lane     lane // nil when there is no connection
	noCursor bool // the server had no slot to spare for a backlog
}

// New makes a Reader, which does nothing before Run. The configuration is
// valid.
func New(cfg Config, keys KeySource, log zerolog.Logger) *Reader {
	return &Reader{
		cfg: cfg, keys: keys,
		log:  log.With().Str("slot", cfg.Slot).Logger(),
		line: sideline{dsn: cfg.DSN, timeout: cfg.CatalogTimeout},
	}
}

// Acknowledge says that everything below lsn is stored and will never be needed
// again: the EndLSN of a transaction whose entries, and those of all before it,
// are durable. Lower values than before are ignored. The server is told with
// the next report, within Config.StatusInterval.
//
// Called before the first Run with the position of the last stored entry, it
// lets Run recognise a slot that somebody has advanced or made anew.
func (r *Reader) Acknowledge(lsn audit.LSN) {
	for {
		old := r.acked.Load()
		if uint64(lsn) <= old || r.acked.CompareAndSwap(old, uint64(lsn)) {
			return
		}
	}
}

// Slot asks the server for the state of the slot, over an ordinary connection.
// It is ErrSlotLost when there is no such slot.
func (r *Reader) Slot(ctx context.Context) (SlotState, error) {
	var s SlotState
	err := r.line.do(ctx, func(ctx context.Context, conn *pgconn.PgConn) (err error) {
		s, err = readSlot(ctx, conn, r.cfg.Slot)
		return err
	})
	return s, err
}

// Run lives as long as one replication connection: it connects, streams from
// where the slot stands, and delivers feeds until ctx ends, when it returns
// nil, or until something goes wrong. It does not close feeds. After an error
// the caller waits a little and runs it again, unless the error is an
// audit.ErrNeedsHuman. Whatever was not acknowledged is delivered again, a
// transaction whose parts were delivered in part from its beginning.
//
// When ctx has ended the connection stays open, so that the consumer can store
// what it has, Acknowledge it, and call Close.
func (r *Reader) Run(ctx context.Context, feeds chan<- audit.Feed) error {
	r.hangUp()
	p := &pump{
		reader: r, feeds: feeds,
		decoder:   newDecoder(r.keys),
		assembler: assembler{maxBytes: r.cfg.FeedBytes, maxChanges: r.cfg.FeedChanges},
	}
	for {
		if err := r.enter(ctx, p); err != nil {
			return r.ended(ctx, err)
		}
		err := p.run(ctx)
		switch {
		case ctx.Err() != nil || err == nil:
			return nil
		case errors.Is(err, errFront) || errors.Is(err, errBehind):
			r.log.Info().Stringer("lsn", p.assembler.seen).AnErr("reason", err).Msg("changing lanes")
			r.leave(ctx)
		default:
			r.hangUp()
			return err
		}
	}
}

// enter connects p to the lane that suits where it stands.
func (r *Reader) enter(ctx context.Context, p *pump) error {
	l, found, err := r.connect(ctx, p.assembler.seen)
	if err != nil {
		return err
	}
	r.lane, p.lane = l, l
	r.Acknowledge(found.slot.ConfirmedFlush)
	if p.assembler.end == 0 {
		p.assembler.end = audit.LSN(r.acked.Load())
		p.assembler.seen = p.assembler.end
	}
	p.interval = statusInterval(r.cfg, found.senderTimeout)
	_, fetching := l.(*backlog)
	r.log.Info().Stringer("lsn", p.assembler.seen).Stringer("wal_end", found.slot.CurrentLSN).Bool("backlog", fetching).
		Int("server_version", found.slot.ServerVersion).Msg("replication started")
	return nil
}

// leave closes the lane in order, so that the slot is free for the next.
func (r *Reader) leave(ctx context.Context) {
	l := r.lane
	r.lane = nil
	if err := l.close(ctx); err != nil {
		r.log.Warn().Err(err).Msg("lane not closed in order")
	}
}

// ended turns whatever the end of ctx brought about into nil.
func (r *Reader) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// hangUp closes a connection without ceremony.
func (r *Reader) hangUp() {
	if r.lane == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.lane.close(ctx)
	r.lane = nil
}

// Close reports the acknowledged position to the server, waits until it has
// been taken note of or ctx ends, and closes all connections. A crash before
// that makes the next start deliver again what was stored already, no more.
func (r *Reader) Close(ctx context.Context) error {
	if err := r.line.close(ctx); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	l := r.lane
	if l == nil {
		return nil
	}
	r.lane = nil
	err := l.confirm(audit.LSN(r.acked.Load()))
	if closed := l.close(ctx); err == nil {
		err = closed
	}
	return err
}
