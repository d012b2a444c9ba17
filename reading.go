package pgwitness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/trail"
	"github.com/pgwitness/pgwitness/verify"
)

// The words of the reading verbs, for the command line.
type (
	// TrailQuery says which entries are wanted.
	TrailQuery = trail.Filter
	// Report is the outcome of a verification.
	Report = verify.Report
)

// ErrNotChecked is wrapped when a trail could not be read for verification.
var ErrNotChecked = verify.ErrNotChecked

// ErrNotFound is wrapped when the trail knows nothing of what was asked for.
var ErrNotFound = errors.New("not in the trail")

// ParseMoment reads a time as people write it; see trail.ParseMoment.
func ParseMoment(s string, now time.Time) (trail.Moment, error) { return trail.ParseMoment(s, now) }

// TrailStyle says how entries are printed.
type TrailStyle struct {
	Color   bool // for terminals
	Explain bool // who says so, and where the entry stands
	JSON    bool // one object per line instead of sentences
}

// Trail prints the entries that q asks for, one line each, and returns their
// number and whether there are more beyond the limit.
func (w *Witness) Trail(ctx context.Context, q TrailQuery, style TrailStyle, out io.Writer) (n int, more bool, err error) {
	streams, err := w.streamsNamed(q.Stream)
	if err != nil {
		return 0, false, err
	}
	if len(streams) == 1 {
		q.Stream = streams[0].Name
	}
	t, release, err := w.openTrail(ctx)
	if err != nil {
		return 0, false, err
	}
	defer release()
	s := trail.Style{Color: style.Color, Explain: style.Explain, Stream: q.Stream == ""}
	var line []byte
	for e, err := range t.Entries(ctx, q) {
		if err != nil {
			return n, false, err
		}
		if style.JSON {
			line = trail.AppendJSON(line[:0], e)
		} else {
			line = append(line[:0], trail.Sentence(e, s)...)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return n, false, fmt.Errorf("print trail: %w", err)
		}
		n++
	}
	more, err = t.More(ctx, q)
	return n, more, err
}

// openTrail returns the trail as the reading user sees it.
func (w *Witness) openTrail(ctx context.Context) (*trail.Trail, func(), error) {
	release, err := w.attach(ctx)
	if err != nil {
		return nil, nil, err
	}
	server, err := w.cfg.ClickHouse.Reader()
	if err != nil {
		release()
		return nil, nil, err
	}
	return trail.New(server), release, nil
}

// StateQuery asks what a row was at a moment.
type StateQuery struct {
	Stream, Type, ID string
	At               time.Time
	JSON             bool
	Color            bool // for terminals
}

// State prints the row. A resource that the trail knows nothing of is
// ErrNotFound.
func (w *Witness) State(ctx context.Context, q StateQuery, out io.Writer) error {
	stream, err := w.oneStream(q.Stream)
	if err != nil {
		return err
	}
	t, release, err := w.openTrail(ctx)
	if err != nil {
		return err
	}
	defer release()
	state, err := t.State(ctx, trail.StateQuery{Stream: stream, ResourceType: q.Type, ResourceID: q.ID, At: q.At, Key: w.keyOf(stream, q.Type)})
	if err != nil {
		return err
	}
	if state.Standing == trail.Unheard {
		return audit.WithHint(fmt.Errorf("%s %s: %w", q.Type, q.ID, ErrNotFound),
			"types are the resource names of the configuration; `pgwitness trail --since 1h` shows some")
	}
	text := []byte(state.Render(trail.Style{Color: q.Color}))
	if q.JSON {
		if text, err = json.MarshalIndent(state, "", "  "); err != nil {
			return fmt.Errorf("print state: %w", err)
		}
		text = append(text, '\n')
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("print state: %w", err)
	}
	return nil
}

// keyOf is the configured key of a resource type, nil when there is none.
func (w *Witness) keyOf(stream, resource string) []string {
	for _, s := range w.cfg.Streams {
		if s.Name != stream {
			continue
		}
		for _, t := range s.Tables {
			if t.Resource == resource {
				return t.Key
			}
		}
	}
	return nil
}

// oneStream is the stream called name, or the only one.
func (w *Witness) oneStream(name string) (string, error) {
	if name == "" && len(w.cfg.Streams) == 1 {
		return w.cfg.Streams[0].Name, nil
	}
	var names []string
	for _, s := range w.cfg.Streams {
		if s.Name == name {
			return name, nil
		}
		names = append(names, s.Name)
	}
	return "", audit.WithHint(fmt.Errorf("%w: no stream %q", ErrConfig, name), "give --stream one of: "+strings.Join(names, ", "))
}

// streamsNamed are the streams that a verb is about: the named one, or all.
func (w *Witness) streamsNamed(name string) ([]StreamConfig, error) {
	if name == "" {
		return w.cfg.Streams, nil
	}
	if _, err := w.oneStream(name); err != nil {
		return nil, err
	}
	for _, s := range w.cfg.Streams {
		if s.Name == name {
			return []StreamConfig{s}, nil
		}
	}
	return nil, nil
}

// VerifyQuery says what is verified.
type VerifyQuery struct {
	Stream string        // empty: every stream
	Tail   uint64        // 0: from the genesis
	MaxAge time.Duration // 0: freshness is not judged
}

// Verify recomputes the chains. A chain that does not hold is in its report,
// not an error. progress may be nil.
func (w *Witness) Verify(ctx context.Context, q VerifyQuery, progress func(done, total uint64)) ([]Report, error) {
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
	v := verify.New(verify.FromClickHouse(server), w.log)
	var reports []Report
	for _, s := range streams {
		o := verify.Options{Stream: s.Name, Tail: q.Tail, Slot: w.slotOf(ctx, s), Now: time.Now(), MaxAge: q.MaxAge}
		r, err := v.Run(ctx, o, progress)
		if err != nil {
			return reports, err
		}
		reports = append(reports, r)
	}
	return reports, nil
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
	saved, err := k.LastPosition(ctx)
	if err != nil {
		return slot, 0, err
	}
	spooled, err := spool.Inspect(w.cfg.StateDir, s.Name) // positions are saved there while ClickHouse is away
	return slot, max(saved, spooled.Saved), err
}
