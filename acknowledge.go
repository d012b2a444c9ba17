package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/trail"
)

// AcknowledgeOptions says whose alarms are acknowledged, by whom and why.
type AcknowledgeOptions struct {
	Stream   string // empty: every stream that has some
	Reason   string // becomes part of the entry
	Operator string // default: the user who runs the program
}

// acknowledgeEvent is the entry alarms_acknowledged.
type acknowledgeEvent struct {
	Alarms   uint64 `json:"alarms"` // since the last acknowledgement
	Newest   string `json:"newest"`
	Operator string `json:"operator"`
	Host     string `json:"host,omitempty"`
}

// Acknowledge records that somebody looked at the acts against the auditor, so
// that status shows only those that come later. The acts stay in the trail.
func (w *Witness) Acknowledge(ctx context.Context, o AcknowledgeOptions, out io.Writer) error {
	if o.Reason == "" {
		return audit.WithHint(errors.New("acknowledge alarms: a reason is missing"), "say what was found out: --reason \"…\"")
	}
	if o.Operator == "" {
		o.Operator = Operator()
	}
	t, release, err := w.openTrail(ctx)
	if err != nil {
		return err
	}
	defer release()
	streams, err := w.streamsNamed(o.Stream)
	if err != nil {
		return err
	}
	for _, s := range streams {
		n, newest, err := unacknowledged(ctx, t, s.Name)
		if err != nil {
			return err
		}
		if n == 0 {
			fmt.Fprintf(out, "%s: nothing to acknowledge\n", s.Name)
			continue
		}
		if err := w.acknowledge(ctx, s, o, n, newest); err != nil {
			return fmt.Errorf("acknowledge alarms of stream %s: %w", s.Name, err)
		}
		fmt.Fprintf(out, "%s: %d acts against the auditor are acknowledged\n", s.Name, n)
	}
	return nil
}

func (w *Witness) acknowledge(ctx context.Context, s StreamConfig, o AcknowledgeOptions, n uint64, newest time.Time) error {
	conn, err := openTenure(ctx, s, w.log)
	if err != nil {
		return err
	}
	defer conn.close()
	if err := conn.rename(ctx); err != nil { // it is no standby
		return err
	}
	e := acknowledgeEvent{Alarms: n, Newest: moment(newest), Operator: o.Operator}
	e.Host, _ = os.Hostname() // an entry without it is better than none
	_, err = conn.write(ctx, act{
		action: "alarms_acknowledged", resourceType: streamResource, resourceID: s.Name,
		actor: o.Operator, details: e, reason: o.Reason,
	})
	return err
}

// unacknowledged counts the acts against the auditor that nobody has looked at
// yet, and says when the newest was.
func unacknowledged(ctx context.Context, t *trail.Trail, stream string) (n uint64, newest time.Time, err error) {
	acknowledged, err := t.Counts(ctx, trail.Filter{Stream: stream, Action: "alarms_acknowledged", ResourceType: streamResource}, trail.ByStream)
	if err != nil {
		return 0, newest, err
	}
	f := trail.Filter{Stream: stream, Action: "audit_tampered"}
	for _, c := range acknowledged {
		f.Since = c.Last
	}
	acts, err := t.Counts(ctx, f, trail.ByStream)
	for _, c := range acts {
		n, newest = c.Entries, c.Last
	}
	return n, newest, err
}
