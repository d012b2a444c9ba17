package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/setup"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
)

// ResumeOptions says which gap is accepted, by whom and why.
type ResumeOptions struct {
	Stream   string // empty: every stream that needs it
	Accept   bool   // without it, only say what would be recorded
	Baseline bool   // read all tables again behind the gap
	FromNow  bool   // give up what the slot still holds, even if nothing is known to be wrong with it
	Reason   string // becomes part of the entry
	Operator string // default: the user who runs the program
}

// gapEvent is the entry gap: what is known not to have been seen.
type gapEvent struct {
	Cause          string  `json:"cause"`
	What           string  `json:"what"`
	AfterSequence  *uint64 `json:"after_sequence"` // the last entry before the gap; null: there was none
	From           string  `json:"from"`           // position up to which the log was stored
	To             string  `json:"to"`             // position from which it is read on
	FromTime       string  `json:"from_time,omitempty"`
	ToTime         string  `json:"to_time"`
	TimelineBefore uint32  `json:"timeline_before"`
	Timeline       uint32  `json:"timeline"`
	Slot           string  `json:"slot"`
	NewSlot        bool    `json:"new_slot"`
	Operator       string  `json:"operator"`
	Host           string  `json:"host,omitempty"`
}

// Resume lets streams go on that stopped because changes are missing: it
// records the gap as an entry and sets the stream up behind it. Streams that
// miss nothing are left alone. Without Accept nothing is changed, and a gap is
// an error that wraps audit.ErrNeedsHuman.
func (w *Witness) Resume(ctx context.Context, o ResumeOptions, out io.Writer) error {
	if o.Accept && o.Reason == "" {
		return audit.WithHint(errors.New("accept gap: a reason is missing"), "say why changes are missing: --reason \"…\"")
	}
	if o.Operator == "" {
		o.Operator = Operator()
	}
	if _, err := w.streamsNamed(o.Stream); err != nil {
		return err
	}
	release, err := w.attach(ctx)
	if err != nil {
		return err
	}
	defer release()
	// What attach found out about embedded engines stands in the configuration.
	streams, err := w.streamsNamed(o.Stream)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range streams {
		r := &resumption{w: w, cfg: s, o: o, out: out}
		if err := r.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("resume stream %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// osUser is the user of the operating system.
func osUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}

// resumption is Resume of one stream.
type resumption struct {
	w   *Witness
	cfg StreamConfig
	o   ResumeOptions
	out io.Writer

	tenure *tenure
	reader *cdc.Reader
	sink   *sink.Sink
}

// run takes the tenure, so that no sidecar is at work meanwhile, looks, and
// mends.
func (r *resumption) run(ctx context.Context) error {
	var err error
	if r.tenure, err = openTenure(ctx, r.cfg, r.w.log); err != nil {
		return err
	}
	defer r.tenure.close()
	holder, err := r.tenure.take(ctx)
	if err != nil {
		return err
	}
	if holder != 0 {
		if r.o.Stream == "" && !r.o.FromNow {
			fmt.Fprintf(r.out, "%s: a sidecar is at work, nothing to do\n", r.cfg.Name)
			return nil
		}
		return audit.WithHint(fmt.Errorf("process %d of the database has the stream: %w", holder, cdc.ErrSlotInUse), "stop the sidecar first")
	}
	server, err := r.w.cfg.ClickHouse.Writer()
	if err != nil {
		return err
	}
	r.sink = sink.New(server, r.w.cfg.Sink, r.cfg.Name, r.w.log)
	defer r.sink.Close()
	r.reader = cdc.New(r.cfg.Postgres.Config, nil, r.w.log)
	defer r.reader.Close(context.WithoutCancel(ctx))
	return r.lookAndMend(ctx)
}

func (r *resumption) lookAndMend(ctx context.Context) error {
	st, err := stand(ctx, r.sink, r.reader, r.w.cfg.StateDir, r.cfg.Name)
	if err != nil {
		return err
	}
	if st.spool.Active {
		return audit.WithHint(fmt.Errorf("%d entries wait in the spool, and would be lost", st.spool.Entries),
			"`pgwitness run` brings them to ClickHouse first; docs/spool.md says what to do with a damaged spool")
	}
	if !st.begun || st.saved == 0 {
		fmt.Fprintf(r.out, "%s: the stream has not begun; `pgwitness setup` and `pgwitness run` begin it\n", r.cfg.Name)
		return nil
	}
	if st.genesis.SystemID != st.slot.SystemID || st.genesis.Database != st.slot.Database {
		return audit.WithHint(fmt.Errorf("the chain was begun on another database: %w", audit.ErrNeedsHuman),
			"correct the DSN, or give this database a stream of its own")
	}
	if st.head, err = r.sink.Recover(ctx); err != nil {
		return err
	}
	l, err := r.diagnose(ctx, st)
	if err != nil {
		return err
	}
	if l == nil {
		fmt.Fprintf(r.out, "%s: nothing is missing: `pgwitness run` goes on at %s\n", r.cfg.Name, st.saved)
		return nil
	}
	fmt.Fprintf(r.out, "%s: %s: %s\n", r.cfg.Name, l.cause, l)
	if !r.o.Accept {
		return audit.WithHint(fmt.Errorf("nothing was changed: %w", audit.ErrNeedsHuman), l.hint(r.cfg.Name))
	}
	return r.mend(ctx, st, l)
}

// diagnose is that of a start, and in addition what only a look at a slot that
// nobody reads can tell, or the operator.
func (r *resumption) diagnose(ctx context.Context, st standing) (*loss, error) {
	if l, err := diagnose(ctx, r.reader, st); l != nil || err != nil {
		return l, err
	}
	p, err := r.tenure.readPublication(ctx, r.cfg.Postgres.Publication)
	if err != nil {
		return nil, err
	}
	if p == nil {
		l := publicationLoss(r.cfg)
		l.from = st.saved
		return l, nil
	}
	if why, err := r.tryDecoding(ctx); why != "" || err != nil {
		return &loss{undecodable, "the log behind the replication slot cannot be decoded: " + why, st.saved}, err
	}
	if r.o.FromNow {
		return &loss{givenUp, "what the replication slot still holds is given up", st.saved}, nil
	}
	return nil, nil
}

// tryDecoding reads the first change that the slot holds, which stays in it,
// and returns why that is impossible. That it took too long, or is not allowed,
// says nothing.
func (r *resumption) tryDecoding(ctx context.Context) (why string, err error) {
	err = r.tenure.ask(ctx, "decode.sql", []any{r.cfg.Postgres.Slot, pgx.Identifier{r.cfg.Postgres.Publication}.Sanitize()}, new(int64))
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return "", err
	}
	switch said.Code {
	case "42704", "55000":
		return said.Message, nil
	case "57014", "42501":
		return "", nil
	}
	return "", err
}

// mend brings the stream behind the gap, in an order in which a crash anywhere
// leaves a stream that still refuses to start, and a Resume that can be run
// again: the slot, the event behind its start, and only then what lets the
// stream go on. A second run records a second entry about the same gap.
func (r *resumption) mend(ctx context.Context, st standing, l *loss) error {
	if !l.keepsSlot() {
		if err := r.renewSlot(ctx, st); err != nil {
			return err
		}
	}
	slot, err := r.reader.Slot(ctx)
	if err != nil {
		return err
	}
	e := r.event(st, l, slot)
	_, err = r.tenure.write(ctx, act{
		action: "gap", resourceType: streamResource, resourceID: r.cfg.Name,
		actor: r.o.Operator, details: e, reason: r.o.Reason,
	})
	if err != nil {
		return audit.WithHint(err, "the gap must be recorded in the audited database; is `pgwitness check` content?")
	}
	if r.o.Baseline {
		if err := r.askBaselines(ctx); err != nil {
			return err
		}
	}
	state := st.state
	state.Since, state.Timeline = st.head.Size, slot.Timeline
	if l.cause == publicationMissing {
		state.Publication = "" // the new one is not an edit of the old one
	}
	if err := r.sink.SaveState(ctx, state); err != nil {
		return err
	}
	if err := r.sink.SavePosition(ctx, slot.ConfirmedFlush); err != nil {
		return err
	}
	if err := spool.Forget(r.w.cfg.StateDir, r.cfg.Name); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%s: the gap from %s to %s is recorded; `pgwitness run` goes on behind it\n", r.cfg.Name, e.From, e.To)
	return nil
}

// askBaselines asks for a new baseline of every table: what changed in the gap
// is not known row by row.
func (r *resumption) askBaselines(ctx context.Context) error {
	states, err := r.sink.Baselines(ctx)
	if err != nil {
		return err
	}
	for relation, text := range states {
		anew, err := baseline.Anew(text)
		if err != nil {
			return err
		}
		if err := r.sink.SaveBaseline(ctx, relation, anew); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.out, "%s: %d tables will be read again\n", r.cfg.Name, len(states))
	return nil
}

// renewSlot drops the slot, if there is one, and lets setup make it, and the
// publication before it, anew.
func (r *resumption) renewSlot(ctx context.Context, st standing) error {
	cfg := setupConfig(r.cfg)
	if st.noSlot == nil {
		conn, err := pgx.Connect(ctx, cfg.DSN)
		if err != nil {
			return fmt.Errorf("drop replication slot: connect to audited database: %w", err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_drop_replication_slot($1)", r.cfg.Postgres.Slot); err != nil {
			return fmt.Errorf("drop replication slot %s: %w", r.cfg.Postgres.Slot, err)
		}
		fmt.Fprintf(r.out, "%s: dropped replication slot %s\n", r.cfg.Name, r.cfg.Postgres.Slot)
	}
	plan, err := setup.Prepare(ctx, cfg)
	if err != nil {
		return err
	}
	return setup.Apply(ctx, cfg, plan, printStep(r.out))
}

// event describes the gap.
func (r *resumption) event(st standing, l *loss, slot cdc.SlotState) gapEvent {
	e := gapEvent{
		Cause: l.cause, What: l.what, From: st.saved.String(), To: slot.ConfirmedFlush.String(), ToTime: moment(time.Now()),
		TimelineBefore: st.timeline(), Timeline: slot.Timeline,
		Slot: r.cfg.Postgres.Slot, NewSlot: !l.keepsSlot(), Operator: r.o.Operator,
	}
	if st.head.Size > 0 {
		last := st.head.Size - 1
		e.AfterSequence, e.FromTime = &last, moment(time.UnixMicro(st.head.Timestamp))
	}
	if host, err := os.Hostname(); err == nil {
		e.Host = host
	}
	return e
}
