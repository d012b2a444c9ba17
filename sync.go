package pgwitness

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/trail"
)

// syncResource is the resource_type of the events that Sync writes.
const syncResource = "pgwitness.sync"

// Sync returns when everything that was committed before the call is stored:
// it writes an event into the log of the audited database and waits until the
// trail has it. A sidecar must be running.
func (w *Witness) Sync(ctx context.Context, stream string) error {
	streams, err := w.streamsNamed(stream)
	if err != nil {
		return err
	}
	for _, s := range streams {
		if err := w.syncStream(ctx, s); err != nil {
			return fmt.Errorf("wait for stream %s: %w", s.Name, err)
		}
	}
	return nil
}

func (w *Witness) syncStream(ctx context.Context, s StreamConfig) error {
	token := rand.Text()
	conn, err := pgx.Connect(ctx, s.Postgres.DSN)
	if err != nil {
		return fmt.Errorf("connect to audited database: %w", err)
	}
	defer conn.Close(ctx)
	const event = "SELECT pgwitness.event(action => 'heartbeat', resource_type => $1, resource_id => $2)"
	if _, err := conn.Exec(ctx, event, syncResource, token); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	server, err := w.cfg.ClickHouse.Reader()
	if err != nil {
		return err
	}
	t := trail.New(server)
	f := trail.Filter{Stream: s.Name, ResourceType: syncResource, ResourceID: token, Since: time.Now().Add(-time.Hour)}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		counts, err := t.Counts(ctx, f, trail.ByStream)
		if err == nil && len(counts) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return audit.WithHint(context.Cause(ctx), "is the sidecar running? see `pgwitness status`")
		case <-tick.C:
		}
	}
}
