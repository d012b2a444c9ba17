package cdc

import (
	"context"
	"errors"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// errBehind ends the stream where the backlog is the better lane.
var errBehind = errors.New("the end of the log is far away")

// pump drives one lane after the other: from there, through decoder and assembler,
// into the channel of feeds, and confirms on time whatever happens. It belongs
// to the goroutine of Run.
type pump struct {
	reader    *Reader
	lane      lane
	feeds     chan<- audit.Feed
	decoder   *decoder
	assembler assembler
	interval  time.Duration // between two confirms

	told   audit.LSN // what the last confirm said
	toldAt time.Time
	due    time.Time // when the next confirm is
	lookAt time.Time // when to look again whether this is the right lane
	news   bool      // the server has said something since the last look

	walEnd   audit.LSN // the server has looked at everything below, none of which is open
	urgent   bool      // the server waits for walEnd
	markedAt time.Time // when the last marker was delivered
}

// run pumps until ctx or the lane ends. The first confirm says no more than
// what the slot says itself.
func (p *pump) run(ctx context.Context) error {
	p.markedAt = time.Now()
	p.lookAt = p.markedAt.Add(p.interval)
	if err := p.confirm(p.markedAt); err != nil {
		return err
	}
	for ctx.Err() == nil {
		f, err := p.lane.next(ctx, p.wake())
		if err != nil {
			return err
		}
		if err := p.take(ctx, f); err != nil {
			return err
		}
		if f.more && !p.assembler.full() {
			continue
		}
		now := time.Now()
		p.mark(now)
		if len(p.assembler.feed.Txs) > 0 {
			if err := p.deliver(ctx); err != nil {
				return err
			}
			now = time.Now()
		}
		if !now.Before(p.due) {
			if err := p.confirm(now); err != nil {
				return err
			}
		}
		if p.news && !now.Before(p.lookAt) {
			p.lookAt, p.news = now.Add(p.interval), false
			if err := p.look(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// look asks how far away the end of the log is, and ends a stream that has
// fallen behind. Between two transactions another lane can go on.
func (p *pump) look(ctx context.Context) error {
	if _, streaming := p.lane.(*stream); !streaming || p.assembler.open || p.reader.cfg.Backlog < 0 {
		return nil
	}
	slot, err := p.reader.Slot(ctx)
	if err != nil {
		p.reader.log.Debug().Err(err).Msg("distance to the end of the log not known")
		return nil
	}
	if p.reader.far(slot, p.assembler.seen) {
		return errBehind
	}
	return nil
}

// take takes one frame in.
func (p *pump) take(ctx context.Context, f frame) error {
	p.news = p.news || f.message != nil || f.walEnd != 0
	if f.message != nil {
		m, err := p.decoder.decode(ctx, f.lsn, f.message)
		if err != nil {
			return err
		}
		if err := p.assembler.add(m); err != nil {
			return undecodable(name(f.message[0]), f.lsn, f.message, err)
		}
		return nil
	}
	if f.walEnd > p.walEnd && !p.assembler.open {
		p.walEnd = f.walEnd
	}
	if f.wanted {
		p.urgent = p.walEnd > p.assembler.end
		p.due = p.reply()
	}
	return nil
}

// reply is when a question of the server is answered: at once when there is
// something new to say or the last answer is some time ago. A server that shuts
// down repeats its question as fast as it is answered, until the answer is the
// end of its log.
func (p *pump) reply() time.Time {
	if p.durable() != p.told {
		return time.Time{}
	}
	return earlier(p.due, p.toldAt.Add(replyPause))
}

// wake is when the pump must look up even though nothing comes.
func (p *pump) wake() time.Time {
	if p.walEnd > p.assembler.end && !p.assembler.open {
		return earlier(p.due, p.markedAt.Add(p.reader.cfg.IdleInterval))
	}
	return p.due
}

// mark lets the position advance over log that holds nothing of ours: an empty
// transaction goes the way of all others, so that whoever stores positions
// needs to know one road only. Because the channel keeps the order, everything
// below walEnd that is ours is stored before.
func (p *pump) mark(now time.Time) {
	if p.assembler.open || p.walEnd <= p.assembler.end {
		return
	}
	if p.urgent || !now.Before(p.markedAt.Add(p.reader.cfg.IdleInterval)) {
		p.assembler.mark(p.walEnd)
		p.urgent, p.markedAt = false, now
	}
}

// deliver hands the feed over. While the consumer is busy nothing is read, and
// the server is still told on time that we live.
func (p *pump) deliver(ctx context.Context) error {
	feed := p.assembler.take()
	select {
	case p.feeds <- feed:
		return nil
	default:
	}
	timer := time.NewTimer(time.Until(p.due))
	defer timer.Stop()
	for {
		select {
		case p.feeds <- feed:
			return nil
		case <-ctx.Done():
			return nil
		case <-timer.C:
			if err := p.confirm(time.Now()); err != nil {
				return err
			}
			timer.Reset(time.Until(p.due))
		}
	}
}

// confirm tells the server what is durable.
func (p *pump) confirm(now time.Time) error {
	durable := p.durable()
	if err := p.lane.confirm(durable); err != nil {
		return err
	}
	p.told, p.toldAt, p.due = durable, now, now.Add(p.interval)
	return nil
}

func (p *pump) durable() audit.LSN { return audit.LSN(p.reader.acked.Load()) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
