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
	Open    bool // clear values instead of tokens, where the vault may be read
}

// Trail prints the entries that q asks for, one line each, and returns their
// number and whether there are more beyond the limit.
func (w *Witness) Trail(ctx context.Context, q TrailQuery, style TrailStyle, out io.Writer) (n int, more bool, err error) {
	streams, err := w.streamsNamed(q.Stream)
	if err == nil {
		err = q.Validate()
	}
	if err != nil {
		return 0, false, err
	}
	if len(streams) == 1 {
		q.Stream = streams[0].Name
	}
	q.Sealed = style.JSON || style.Explain
	t, release, err := w.openTrailAs(ctx, style.Open)
	if err != nil {
		return 0, false, err
	}
	defer release()
	w.recordRead(ctx, q.Stream, "trail", style.JSON, withOpen(askedOf(q), style.Open))
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

// openTrailAs is openTrail; with open, tokens are opened as the user may who
// reads the vault.
func (w *Witness) openTrailAs(ctx context.Context, open bool) (*trail.Trail, func(), error) {
	t, release, err := w.openTrail(ctx)
	if err != nil || !open {
		return t, release, err
	}
	vault, err := w.cfg.ClickHouse.Vault()
	if err != nil {
		release()
		return nil, nil, err
	}
	return t.Opening(vault), release, nil
}

// withOpen adds to what was asked that clear values were.
func withOpen(asked map[string]string, open bool) map[string]string {
	if open {
		asked["open"] = "personal values"
	}
	return asked
}

// StateQuery asks what a row was at a moment.
type StateQuery struct {
	Stream, Type, ID string
	At               time.Time
	JSON             bool
	Color            bool // for terminals
	Open             bool // clear values instead of tokens, where the vault may be read
}

// State prints the row. A resource that the trail knows nothing of is
// ErrNotFound.
func (w *Witness) State(ctx context.Context, q StateQuery, out io.Writer) error {
	stream, err := w.oneStream(q.Stream)
	if err != nil {
		return err
	}
	t, release, err := w.openTrailAs(ctx, q.Open)
	if err != nil {
		return err
	}
	defer release()
	w.recordRead(ctx, stream, "state", q.JSON, withOpen(spoken(map[string]string{"type": q.Type, "id": q.ID, "at": momentOf(q.At)}), q.Open))
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
