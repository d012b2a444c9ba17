package pgwitness

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/trail"
)

// Status is how a stream stands, as both databases tell.
type Status struct {
	Stream     string              `json:"stream"`
	Entries    uint64              `json:"entries"`
	Newest     time.Time           `json:"newest,omitzero"`         // commit time of the newest entry
	Attributed float64             `json:"attributed"`              // share of row changes with a known actor, 0 to 1
	Sources    []trail.SourceCount `json:"actor_sources,omitempty"` // row changes by how the actor is known
	Offenders  []trail.Offender    `json:"unattributed,omitempty"`  // connections with the most changes of an unknown actor
	Slot       string              `json:"slot"`                    // name
	Active     bool                `json:"active"`                  // a sidecar reads the slot
	WALStatus  string              `json:"wal_status"`              // reserved | extended | unreserved | lost
	Saved      string              `json:"saved_position"`          // up to where the log is stored
	Confirmed  string              `json:"confirmed_flush"`         // up to where the slot was acknowledged
	LagBytes   uint64              `json:"lag_bytes"`               // written and not acknowledged
	Retained   uint64              `json:"retained_bytes"`          // kept by the server for the slot
	Heartbeat  time.Time           `json:"heartbeat,omitzero"`      // newest heartbeat or start of the last day
	Gaps       uint64              `json:"gaps"`                    // declared by entries
	Alarms     uint64              `json:"alarms"`                  // acts against the auditor that nobody acknowledged
	Alarm      time.Time           `json:"alarm,omitzero"`          // the newest of them
	Standbys   int                 `json:"standbys"`                // sidecars that wait to take over
	Spool      spool.State         `json:"spool"`                   // of the state folder: what waits for ClickHouse
	NeedsHuman bool                `json:"needs_human"`             // the stream cannot go on: changes are missing
	Missing    string              `json:"missing,omitempty"`       // which, when NeedsHuman
	Hint       string              `json:"hint,omitempty"`          // what to do, when NeedsHuman
	Problem    string              `json:"problem,omitempty"`       // what could not be asked

	Baselines []TableBaseline `json:"baselines"` // of the published tables
}

// Status asks both databases how every stream stands. What cannot be asked is
// told in Problem.
func (w *Witness) Status(ctx context.Context) ([]Status, error) {
	t, release, err := w.openTrail(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	var list []Status
	for _, s := range w.cfg.Streams {
		st := Status{Stream: s.Name, Slot: s.Postgres.Slot}
		if st.Spool, err = spool.Inspect(w.cfg.StateDir, s.Name); err != nil {
			st.Problem = err.Error()
		}
		if err := st.askTrail(ctx, t); err != nil && !st.Spool.Active {
			return nil, err
		} else if err != nil { // that is why there is a spool
			st.Problem = err.Error()
		}
		if err := st.askStream(ctx, w, s); err != nil {
			st.Problem = err.Error()
		}
		list = append(list, st)
	}
	return list, nil
}

func (st *Status) askTrail(ctx context.Context, t *trail.Trail) error {
	counts, err := t.Counts(ctx, trail.Filter{Stream: st.Stream}, trail.ByStream)
	if err != nil {
		return err
	}
	for _, c := range counts {
		st.Entries, st.Newest = c.Entries, c.Last
	}
	coverage, err := t.Coverage(ctx, trail.Filter{Stream: st.Stream})
	if err != nil {
		return err
	}
	st.Attributed = trail.Total(coverage).Share()
	if st.Sources, err = t.Sources(ctx, trail.Filter{Stream: st.Stream}); err != nil {
		return err
	}
	if st.Offenders, err = t.Offenders(ctx, trail.Filter{Stream: st.Stream}); err != nil {
		return err
	}
	gaps, err := t.Counts(ctx, trail.Filter{Stream: st.Stream, Action: "gap", ResourceType: streamResource}, trail.ByAction)
	if err != nil {
		return err
	}
	for _, c := range gaps {
		st.Gaps += c.Entries
	}
	if st.Alarms, st.Alarm, err = unacknowledged(ctx, t, st.Stream); err != nil {
		return err
	}
	signs := trail.Filter{Stream: st.Stream, ResourceType: streamResource, Since: time.Now().Add(-24 * time.Hour)}
	beats, err := t.Counts(ctx, signs, trail.ByAction)
	for _, c := range beats {
		if c.Last.After(st.Heartbeat) && (c.Group[0] == "heartbeat" || c.Group[0] == "start") {
			st.Heartbeat = c.Last
		}
	}
	return err
}

// askStream compares the audited database with what was saved.
func (st *Status) askStream(ctx context.Context, w *Witness, s StreamConfig) error {
	reader := cdc.New(s.Postgres.Config, nil, w.log)
	defer reader.Close(ctx)
	server, err := w.cfg.ClickHouse.Reader()
	if err != nil {
		return err
	}
	k := sink.New(server, w.cfg.Sink, s.Name, w.log)
	defer k.Close()
	found, err := stand(ctx, k, reader, w.cfg.StateDir, s.Name)
	slot := found.slot // also known when ClickHouse is away
	st.Active, st.WALStatus = slot.ActivePID != 0, slot.WALStatus
	st.Saved, st.Confirmed = found.saved.String(), slot.ConfirmedFlush.String()
	st.LagBytes, st.Retained = slot.Lag(), slot.Retained()
	if err != nil {
		return err
	}
	t, err := openTenure(ctx, s, w.log)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.rename(ctx); err != nil { // only looks: it is no standby
		return err
	}
	if err := t.ask(ctx, "standbys.sql", []any{s.Name}, &st.Standbys); err != nil {
		return err
	}
	if !found.begun && found.noSlot != nil {
		return found.noSlot
	}
	missing, err := diagnose(ctx, reader, found)
	if err != nil {
		return err
	}
	p, err := t.readPublication(ctx, s.Postgres.Publication)
	if err == nil {
		st.Baselines, err = baselines(ctx, k, p)
	}
	if err == nil && missing == nil && p == nil && found.begun {
		missing = publicationLoss(s)
	}
	if missing != nil {
		st.NeedsHuman, st.Missing, st.Hint = true, missing.cause+": "+missing.String(), missing.hint(s.Name)
	}
	return err
}

// WriteText renders the status for a person.
func (st Status) WriteText(w io.Writer) {
	newest := "none"
	if !st.Newest.IsZero() {
		newest = st.Newest.UTC().Format("2006-01-02 15:04:05.000000 UTC")
	}
	reader := "nobody reads the slot: is `pgwitness run` running?"
	if st.Active {
		reader = "a sidecar is reading"
	}
	fmt.Fprintf(w, "%s\n", st.Stream)
	fmt.Fprintf(w, "  entries     %d, the newest of %s\n", st.Entries, newest)
	st.writeCoverage(w)
	fmt.Fprintf(w, "  slot        %s (%s), %s\n", st.Slot, st.WALStatus, reader)
	fmt.Fprintf(w, "  position    stored up to %s, acknowledged up to %s\n", st.Saved, st.Confirmed)
	fmt.Fprintf(w, "  lag         %s; the server keeps %s of log for us\n", size(st.LagBytes), size(st.Retained))
	fmt.Fprintf(w, "  heartbeat   %s; %d gaps declared; %d standby\n", age(st.Heartbeat, time.Now()), st.Gaps, st.Standbys)
	if st.Alarms > 0 {
		fmt.Fprintf(w, "  ALARM       %d acts against the auditor, the newest %s: pgwitness trail --action audit_tampered\n", st.Alarms, age(st.Alarm, time.Now()))
		fmt.Fprintf(w, "              mend it with `pgwitness setup`, then `pgwitness acknowledge --stream %s --reason \"…\"`\n", st.Stream)
	}
	writeBaselines(w, st.Baselines)
	if st.Spool.Active {
		fmt.Fprintf(w, "  spool       %d entries wait for ClickHouse, %s, the oldest of about %s\n",
			st.Spool.Entries, size(uint64(st.Spool.Bytes)), age(time.UnixMicro(st.Spool.Oldest), time.Now()))
	}
	if st.NeedsHuman {
		fmt.Fprintf(w, "  STOPPED     %s\n", st.Missing)
		fmt.Fprintf(w, "              %s\n", st.Hint)
	}
	if st.Problem != "" {
		fmt.Fprintf(w, "  problem     %s\n", st.Problem)
	}
}

// age tells how long ago the last sign of life was.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "none for a day"
	}
	return now.Sub(t).Round(time.Second).String() + " ago"
}

// size renders a number of bytes: 1.5 MiB.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, u := float64(n)/1024, 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[u])
}
