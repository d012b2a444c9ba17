package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/trail"
	"github.com/pgwitness/pgwitness/verify"
)

// VerifyQuery says what is verified.
type VerifyQuery struct {
	Stream string        // empty: every stream
	Tail   uint64        // 0: from the genesis
	MaxAge time.Duration // 0: freshness is not judged
	// Continuity asks whether each old row is what the entries before it left,
	// Reconcile whether the entries give the audited tables as they are. Both
	// look at the whole trail, whatever Tail says.
	Continuity, Reconcile bool
	Values                bool // findings about rows say values, too
}

// Verify recomputes the chains. A chain that does not hold is in its report,
// not an error. What could not be checked of a stream is an error that wraps
// ErrNotChecked, and its report says what was. progress may be nil.
func (w *Witness) Verify(ctx context.Context, q VerifyQuery, progress func(what string, done, total uint64)) ([]Report, error) {
	release, err := w.attach(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotChecked, err)
	}
	defer release()
	server, err := w.cfg.ClickHouse.Reader()
	if err != nil {
		return nil, err
	}
	streams, err := w.streamsNamed(q.Stream)
	if err != nil {
		return nil, err
	}
	var reports []Report
	var errs []error
	for _, s := range streams {
		r, err := w.verifyStream(ctx, server, s, q, progress)
		w.recordVerify(ctx, s, q, r, err)
		if err != nil {
			errs = append(errs, err)
		}
		if r.Stream != "" {
			reports = append(reports, r)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return reports, errors.Join(errs...)
}

func (w *Witness) verifyStream(ctx context.Context, server store.Server, s StreamConfig, q VerifyQuery, progress func(what string, done, total uint64)) (Report, error) {
	o := verify.Options{Stream: s.Name, Tail: q.Tail, Slot: w.slotOf(ctx, s), Now: time.Now(), MaxAge: q.MaxAge}
	var show func(done, total uint64)
	if progress != nil {
		show = func(done, total uint64) { progress("verifying", done, total) }
	}
	vault, err := w.cfg.ClickHouse.Vault()
	if err != nil {
		return Report{}, err
	}
	o.Vault = verify.FromClickHouse(vault)
	began := time.Now()
	report, err := verify.New(verify.FromClickHouse(server), w.log).Run(ctx, o, show)
	if err != nil {
		return Report{}, err
	}
	c := &crossCheck{stream: s, trail: trail.New(server).Opening(vault), report: &report, values: q.Values, show: progress}
	var errs []error
	if q.Continuity {
		errs = append(errs, c.attempt("row continuity", c.continuity(ctx)))
	}
	if q.Reconcile {
		errs = append(errs, c.attempt("reconcile", c.reconcile(ctx)))
	}
	report.Elapsed = time.Since(began)
	return report, errors.Join(errs...)
}

// attempt makes of an error that a check was not made; what it found before
// stays.
func (c *crossCheck) attempt(what string, err error) error {
	if err == nil {
		return nil
	}
	c.report.CouldNot(verify.Completeness, what+" could not be checked")
	err = fmt.Errorf("verify stream %s: %s: %w: %w", c.stream.Name, what, ErrNotChecked, err)
	return audit.WithHint(err, audit.Hint(err))
}

// slotOf compares the slot with the saved position; nil when the audited
// database cannot be asked, which leaves that part of the check out.
func (w *Witness) slotOf(ctx context.Context, s StreamConfig) *verify.Slot {
	slot, saved, err := w.slotAndPosition(ctx, s)
	if err != nil {
		w.log.Warn().Err(err).Str("stream", s.Name).Msg("slot not compared")
		return nil
	}
	return &verify.Slot{Confirmed: slot.ConfirmedFlush, Acknowledged: saved}
}

// slotAndPosition reads the slot, and then the saved position, which is never
// behind it.
func (w *Witness) slotAndPosition(ctx context.Context, s StreamConfig) (cdc.SlotState, audit.LSN, error) {
	reader := cdc.New(s.Postgres.Config, nil, w.log)
	defer reader.Close(ctx)
	slot, err := reader.Slot(ctx)
	if err != nil {
		return slot, 0, err
	}
	server, err := w.cfg.ClickHouse.Reader()
	if err != nil {
		return slot, 0, err
	}
	k := sink.New(server, w.cfg.Sink, s.Name, w.log)
	defer k.Close()
	spooled, err := spool.Inspect(w.cfg.StateDir, s.Name) // positions are saved there while ClickHouse is away
	if err != nil {
		return slot, 0, err
	}
	saved, err := k.LastPosition(ctx) // behind the look into the spool, see stand
	return slot, max(saved, spooled.Saved), err
}
