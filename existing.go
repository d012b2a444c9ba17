package pgwitness

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/sink"
)

// newBaseline makes the reader of rows that are older than the stream; nil when
// it is switched off.
func (s *stream) newBaseline(p *pipeline, stampKey [32]byte, size uint64) *baseline.Runner {
	cfg := s.cfg.Baseline
	if !*cfg.Enabled {
		return nil
	}
	src := baseline.Source{
		DSN: s.cfg.Postgres.DSN, Settings: pinnedSettings(), Stream: s.cfg.Name, Publication: s.cfg.Postgres.Publication,
		Key: stampKey, ConnectTimeout: s.cfg.Postgres.ConnectTimeout, Pause: s.cfg.WatchInterval,
	}
	m, name := s.w.metrics, s.cfg.Name
	meter := baseline.Meter{
		Made:    func(n int) { m.baselineRows.WithLabelValues(name).Add(float64(n)) },
		Retried: func() { m.baselineRetries.WithLabelValues(name).Inc() },
		Pending: func(n int) { m.baselinePending.WithLabelValues(name).Set(float64(n)) },
		Working: p.storage.setUnrepeatable,
	}
	return baseline.New(src, cfg, p.enrich.Baseline(), p.sink, &progress{p.storage, &p.marks, size}, meter, s.log)
}

// pinnedSettings are those of cdc.Settings, by name.
func pinnedSettings() map[string]string {
	settings := make(map[string]string)
	for line := range strings.Lines(cdc.Settings()) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " = "); ok {
			settings[name] = value
		}
	}
	return settings
}

// progress is how far a pipeline is, as the baseline wants to know it.
type progress struct {
	storage *storage
	marks   *marks
	size    uint64 // of the chain when the pipeline began
}

// Ready reports whether ClickHouse has all that was taken in by earlier lives.
func (p *progress) Ready() bool { return !p.storage.isSpooling() }

// Read is up to where the log was taken in.
func (p *progress) Read() audit.LSN { return audit.LSN(p.marks.read.Load()) }

// Stored is how many entries ClickHouse has, and the position of the last.
func (p *progress) Stored() (uint64, audit.LSN) {
	return max(p.size, p.marks.entries.Load()), audit.LSN(p.marks.stored.Load())
}

// besides runs the baseline until ctx ends, and returns what waits for its end.
func besides(ctx context.Context, r *baseline.Runner) (wait func()) {
	if r == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	return func() { <-done }
}

// TableBaseline is how far the baseline of a table is.
type TableBaseline struct {
	Table    string         `json:"table"`
	Phase    baseline.Phase `json:"phase"`
	Why      string         `json:"why,omitempty"` // it waits, is blocked, or was skipped
	Rows     uint64         `json:"rows"`          // entries made
	Estimate uint64         `json:"estimate"`      // rows of the table, about
	Rate     float64        `json:"rows_per_second,omitempty"`
	Updated  time.Time      `json:"updated,omitzero"`
}

// baselines reads how far the baselines are of the tables that are published.
func baselines(ctx context.Context, k *sink.Sink, p *publication) ([]TableBaseline, error) {
	texts, err := k.Baselines(ctx)
	if err != nil || p == nil {
		return nil, err
	}
	var list []TableBaseline
	for name, t := range p.Tables {
		b := TableBaseline{Table: name, Phase: baseline.Waiting}
		if text, ok := texts[uint32(t.OID)]; ok {
			s, err := baseline.ReadState(text)
			if err != nil {
				return nil, err
			}
			b = TableBaseline{name, s.Phase, s.Why, s.Rows, s.Estimate, s.Rate, s.Updated}
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b TableBaseline) int { return strings.Compare(a.Table, b.Table) })
	return list, nil
}

// writeBaselines renders the baselines for a person: one line in all, and one
// for each table that is not done.
func writeBaselines(w io.Writer, list []TableBaseline) {
	done, rows := 0, uint64(0)
	for _, b := range list {
		if rows += b.Rows; b.Phase == baseline.Completed {
			done++
		}
	}
	fmt.Fprintf(w, "  baseline    %d of %d tables, %d rows that were there before\n", done, len(list), rows)
	for _, b := range list {
		switch b.Phase {
		case baseline.Completed:
		case baseline.Running:
			fmt.Fprintf(w, "              %s %s\n", b.Table, b.bar())
		default:
			fmt.Fprintf(w, "              %s: %s\n", b.Table, strings.TrimSuffix(string(b.Phase)+": "+b.Why, ": "))
		}
	}
}

// bar shows how far a table is, and how long the rest may take.
func (b *TableBaseline) bar() string {
	const width = 20
	share := float64(b.Rows) / float64(max(b.Estimate, b.Rows, 1))
	full := int(share * width)
	text := fmt.Sprintf("[%s%s] %.0f %%, %d of about %d rows", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*share, b.Rows, max(b.Estimate, b.Rows))
	if b.Rate > 0 {
		left := time.Duration(float64(max(b.Estimate, b.Rows)-b.Rows) / b.Rate * float64(time.Second))
		text += fmt.Sprintf(", %.0f rows/s, %s left", b.Rate, left.Round(time.Second))
	}
	if b.Why != "" {
		text += "; " + b.Why
	}
	return text
}
