package pgwitness

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
)

// The causes of a gap, as the entry names them; docs/gaps.md explains each.
const (
	slotMissing        = "slot_missing"        // there is no such slot
	slotInvalidated    = "slot_invalidated"    // the server gave its log up
	slotAdvanced       = "slot_advanced"       // the slot stands beyond what is stored
	logBehind          = "log_behind"          // the log ends before what is stored: restored from a backup
	historyForked      = "history_forked"      // the server's history left ours before what is stored
	publicationMissing = "publication_missing" // the publication was dropped
	undecodable        = "undecodable"         // the log behind the slot cannot be decoded
	givenUp            = "given_up"            // the operator asked for it
)

// loss is why a stream cannot go on as if nothing were missing.
type loss struct {
	cause string
	what  string    // one sentence
	from  audit.LSN // up to here the log is stored
}

// err is what a stream stops with.
func (l *loss) err(stream string) error {
	return audit.WithHint(fmt.Errorf("%s: %s: %w", l.cause, l, audit.ErrNeedsHuman), l.hint(stream))
}

// String tells the loss in one sentence.
func (l *loss) String() string {
	if l.from == 0 {
		return l.what
	}
	return fmt.Sprintf("%s; stored up to %s", l.what, l.from)
}

// spoolHint is the harmless reason for which a slot stands beyond what is
// stored: then nothing is missing, and a gap must not be declared.
const spoolHint = "if a sidecar with another state_dir has spooled entries of this stream, start that one, or copy its folder spool here: they are not lost. Else "

// hint is the way out.
func (l *loss) hint(stream string) string {
	if l.cause == slotAdvanced {
		return spoolHint + resumeHint(stream)
	}
	return resumeHint(stream)
}

// resumeHint is the way out of a loss.
func resumeHint(stream string) string {
	return fmt.Sprintf("find out why. Then `pgwitness resume --stream %s --accept-gap --reason \"…\"` records what was not seen as an entry, and the stream goes on behind it", stream)
}

// keepsSlot reports whether the slot can be read on from where it stands.
func (l *loss) keepsSlot() bool { return l.cause == slotAdvanced }

// standing is where a stream stands, as both databases tell.
type standing struct {
	slot    cdc.SlotState
	noSlot  error         // why there is none, nil when there is
	head    audit.Head    // of the stored chain; its Hash is zero when that is empty
	genesis chain.Genesis // zero when there is none
	begun   bool          // there is a genesis
	spool   spool.State   // on the local disk
	saved   audit.LSN     // up to where the log is stored or spooled; 0 before the first start
	state   sink.State
}

// stand asks both databases, and looks into the spool in stateDir. That the slot
// is lost is no error here. The order is what keeps the saved position from
// being behind the slot although somebody is at work: a position is saved before
// it is acknowledged, and before the spool goes it is saved in ClickHouse.
func stand(ctx context.Context, k *sink.Sink, reader *cdc.Reader, stateDir, stream string) (standing, error) {
	var st standing
	var err error
	if st.slot, err = reader.Slot(ctx); errors.Is(err, cdc.ErrSlotLost) {
		st.noSlot = err
	} else if err != nil {
		return st, err
	}
	if st.spool, err = spool.Inspect(stateDir, stream); err != nil {
		return st, err
	}
	st.saved = st.spool.Saved
	saved, err := k.LastPosition(ctx)
	if err != nil {
		return st, err
	}
	st.saved = max(st.saved, saved)
	if st.state, err = k.LastState(ctx); err != nil {
		return st, err
	}
	stored, _, begun, err := k.Genesis(ctx)
	st.genesis, st.begun = chain.Genesis(stored), begun
	return st, err
}

// timeline is that of the server when the stream was last read.
func (st *standing) timeline() uint32 {
	if st.state.Timeline != 0 || !st.begun {
		return st.state.Timeline
	}
	return st.genesis.Timeline
}

// last is the commit of the newest entry of the history at hand; 0 when there
// is none.
func (st *standing) last() audit.LSN { return st.state.Covering(st.head).Position.CommitLSN }

// diagnose says what the stream would miss if it went on; nil for nothing. A
// stream that never began misses nothing.
//
// BUG(gap): a server that was set back to a snapshot of its disks, on the same
// timeline, and has since written more log than before, is taken for the one
// it was. Row continuity and reconcile (pgwitness verify) tell.
func diagnose(ctx context.Context, reader *cdc.Reader, st standing) (*loss, error) {
	if !st.begun || st.saved == 0 {
		return nil, nil
	}
	if l, err := diagnoseHistory(ctx, reader, st); l != nil || err != nil {
		return l, err
	}
	switch s := st.slot; {
	case st.noSlot != nil:
		return &loss{slotMissing, "the replication slot does not exist: the log behind what is stored may be gone", st.saved}, nil
	case s.Invalidation != "":
		return &loss{slotInvalidated, "the server invalidated the replication slot: " + s.Invalidation, st.saved}, nil
	case s.WALStatus == "lost" && s.Restart == 0: // while it keeps a restart position it may be saved yet
		return &loss{slotInvalidated, "the server removed log that the replication slot needs", st.saved}, nil
	case s.ConfirmedFlush > st.saved:
		return &loss{slotAdvanced, fmt.Sprintf("the replication slot stands at %s: somebody advanced it or made it anew", s.ConfirmedFlush), st.saved}, nil
	}
	return nil, nil
}

// diagnoseHistory looks whether the log of the server is the one that was read.
// A promoted standby writes the same log up to where it was promoted, and from
// there on one of its own.
func diagnoseHistory(ctx context.Context, reader *cdc.Reader, st standing) (*loss, error) {
	before, now := st.timeline(), st.slot.Timeline
	if before != 0 && now != 0 && before != now {
		fork, err := reader.Fork(ctx, before, now)
		if err != nil {
			return nil, err
		}
		if fork < st.saved || st.last() != 0 && fork <= st.last() {
			return &loss{historyForked, fmt.Sprintf("the server is on timeline %d, which left timeline %d at %s: what was stored behind that never happened there", now, before, fork), st.saved}, nil
		}
	}
	if end := st.slot.CurrentLSN; end < st.saved || end <= st.last() {
		return &loss{logBehind, fmt.Sprintf("the write-ahead log ends at %s: the server was restored from a backup, and tells another history from there on", end), st.saved}, nil
	}
	return nil, nil
}

// publicationLoss is the loss of a publication that is gone.
func publicationLoss(s StreamConfig) *loss {
	return &loss{cause: publicationMissing, what: fmt.Sprintf("the publication %s does not exist: nothing is captured", s.Postgres.Publication)}
}
