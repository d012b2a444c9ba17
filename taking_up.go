package pgwitness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
)

// takeUp finds out where the stream stands: from both databases, or, while
// ClickHouse is away, from the local disk.
//
//	ClickHouse answers    its head; behind it, linked, what the spool holds
//	it does not           the end of the spool; with an empty one, what was known
//	                      at the last acknowledgement
//
// The spool's end and the trail's head are exact. What was known may be behind
// the trail by the batches since then: they are delivered again, and the same
// log and configuration make the same entries of them, which drain finds to be
// stored. So another configuration has to wait for ClickHouse.
func (s *stream) takeUp(ctx context.Context, k *sink.Sink, reader *cdc.Reader, sp *spool.Spool) (st standing, away bool, err error) {
	st, err = stand(ctx, k, reader, s.w.cfg.StateDir, s.cfg.Name)
	if err == nil && (st.noSlot == nil || st.begun) {
		st.head, err = k.Recover(ctx)
	}
	if err == nil {
		return st, false, s.behindTrail(ctx, k, sp, &st)
	}
	if errors.Is(err, audit.ErrNeedsHuman) || ctx.Err() != nil || s.w.cfg.Spool.MaxRetainedWAL == 0 {
		return st, false, err
	}
	local, ok := s.recall(ctx, reader, sp)
	if !ok {
		return st, false, err
	}
	s.log.Warn().Err(err).Str("hint", audit.Hint(err)).Uint64("size", local.head.Size).Msg("clickhouse is away, going on with the spool")
	return local, true, nil
}

// behindTrail adds to what ClickHouse says what lies on the local disk: the head
// is the end of the spool, the saved position the later of the two.
func (s *stream) behindTrail(ctx context.Context, k *sink.Sink, sp *spool.Spool, st *standing) error {
	if err := s.sameTrail(sp, st); err != nil {
		return err
	}
	end, ok := sp.End()
	if !ok {
		return nil
	}
	stored := st.head
	if stored.Size == 0 {
		stored = st.genesis.Head()
	}
	st.saved = max(st.saved, sp.Saved())
	if stored.Size <= end.Size {
		st.head = end
		return sp.Seek(stored)
	}
	// The spool was begun from an older state of the trail, see takeUp, and must
	// be a part of it. Seek says so when it is not.
	if end.Size > 0 {
		hash, err := k.HashAt(ctx, end.Size-1)
		if err != nil {
			return err
		}
		if hash != end.Hash {
			return sp.Seek(stored)
		}
	}
	if err := k.SavePosition(ctx, st.saved); err != nil {
		return err
	}
	_, err := sp.Clear(end, sp.Saved())
	return err
}

// sameTrail refuses a trail that is less than what the local disk knows to have
// been stored, or another one. What cannot be read there proves nothing.
func (s *stream) sameTrail(sp *spool.Spool, st *standing) error {
	known, found, err := sp.Recall()
	var genesis chain.Genesis
	if err != nil || !found || json.Unmarshal(known.Genesis, &genesis) != nil {
		return nil
	}
	if !st.begun || genesis.Hash() != st.genesis.Hash() {
		return audit.WithHint(
			fmt.Errorf("the chain of stream %s in ClickHouse is not the one that was written from here: %w", s.cfg.Name, audit.ErrNeedsHuman),
			"is it the right ClickHouse, and is the trail whole? docs/spool.md says how to begin another chain")
	}
	if known.Head.Size > st.head.Size {
		return audit.WithHint(
			fmt.Errorf("the trail of stream %s ends at %d entries, and %d were stored: %w", s.cfg.Name, st.head.Size, known.Head.Size, audit.ErrNeedsHuman),
			"somebody deleted from audit_logs, or an older copy of it was restored; docs/spool.md says how to go on")
	}
	return nil
}

// recall is where the stream stands as far as the local disk knows; ok is false
// when that is not enough to go on without ClickHouse.
func (s *stream) recall(ctx context.Context, reader *cdc.Reader, sp *spool.Spool) (st standing, ok bool) {
	known, found, err := sp.Recall()
	if err != nil {
		s.log.Warn().Err(err).Msg("what was known of the chain cannot be read")
	}
	if err != nil || !found {
		return st, false
	}
	if json.Unmarshal(known.Genesis, &st.genesis) != nil || json.Unmarshal(known.State, &st.state) != nil {
		return st, false
	}
	st.begun, st.head, st.saved = true, known.Head, max(known.Position, sp.Saved())
	end, spooled := sp.End()
	if spooled {
		st.head = end
	}
	configuration, err := s.makes()
	if err != nil || configuration != known.Configuration && (!spooled || known.Behind) {
		return st, false
	}
	if st.slot, err = reader.Slot(ctx); errors.Is(err, cdc.ErrSlotLost) {
		st.noSlot = err
		return st, true
	}
	// A slot that stands further means that what is known is out of date.
	return st, err == nil && st.slot.ConfirmedFlush <= st.saved
}

// makes stands for everything that decides which entries are made of the log.
func (s *stream) makes() (string, error) {
	hash, err := s.cfg.hash()
	return hash + " " + s.w.Version, err
}

// newStorage makes the storage of a stream that stands at st. It begins with
// spooling when ClickHouse is away or the spool is not empty yet.
func (s *stream) newStorage(k *sink.Sink, reader *cdc.Reader, sp *spool.Spool, st standing, genesis chain.Genesis, away bool, m *marks) (*storage, error) {
	configuration, err := s.makes()
	if err != nil {
		return nil, err
	}
	keep := &storage{
		stream: s.cfg.Name, sink: k, spool: sp, limits: s.w.cfg.Batch, end: st.head,
		known: spool.Known{
			Genesis: marshal(genesis), State: marshal(st.state), Configuration: configuration, Head: st.head, Position: st.saved,
		},
		stored: func(ctx context.Context) (audit.Head, error) { return storedHead(ctx, k, genesis) },
		slot:   reader.Slot,
		limit:  s.w.cfg.Spool.MaxRetainedWAL,
		states: &s.w.states, metrics: s.w.metrics, marks: m, log: s.log,
		begun: make(chan struct{}, 1),
	}
	_, spooled := sp.End()
	if away && !spooled {
		keep.known.Behind = true
		if err := sp.Remember(keep.known); err != nil {
			return nil, err
		}
		keep.known.Behind = false // whatever is remembered next is right
	}
	if spooled || away {
		keep.beginSpooling()
	}
	return keep, nil
}

// storedHead is the head of the chain with that genesis in ClickHouse, with no
// insert in flight that could move it.
func storedHead(ctx context.Context, k *sink.Sink, genesis chain.Genesis) (audit.Head, error) {
	stored, _, found, err := k.Genesis(ctx)
	if err != nil {
		return audit.Head{}, err
	}
	g := chain.Genesis(stored)
	if !found || g.Hash() != genesis.Hash() {
		return audit.Head{}, audit.WithHint(fmt.Errorf("the chain of the spool is not the one in ClickHouse: %w", audit.ErrNeedsHuman),
			"is it the right ClickHouse? the spool must be drained into the one that it was begun for")
	}
	head, err := k.Recover(ctx)
	if err == nil && head.Size == 0 {
		head = genesis.Head()
	}
	return head, err
}
