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
	conn, err := pgx.Connect(ctx, s.Postgres.DSN)
	if err != nil {
		return fmt.Errorf("connect to audited database: %w", err)
	}
	defer conn.Close(ctx)
	token, err := writeSync(ctx, conn)
	if err != nil {
		return err
	}
	server, err := w.cfg.ClickHouse.Reader()
	if err != nil {
		return err
	}
	_, err = awaitSync(ctx, trail.New(server), s.Name, token, nil)
	return err
}

// writeSync writes an event into the log and returns its resource_id.
func writeSync(ctx context.Context, conn *pgx.Conn) (string, error) {
	token := rand.Text()
	const event = "SELECT pgwitness.event(action => 'heartbeat', resource_type => $1, resource_id => $2)"
	if _, err := conn.Exec(ctx, event, syncResource, token); err != nil {
		return "", fmt.Errorf("write event: %w", err)
	}
	return token, nil
}

// awaitSync returns the sequence of that event once it is stored. look, which
// may be nil, is asked every second; its error ends the waiting.
func awaitSync(ctx context.Context, t *trail.Trail, stream, token string, look func(context.Context) error) (uint64, error) {
	f := trail.Filter{Stream: stream, ResourceType: syncResource, ResourceID: token, Since: time.Now().Add(-time.Hour), Limit: 1}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		for e, err := range t.Entries(ctx, f) {
			if err == nil {
				return e.Sequence, nil
			}
		}
		if look != nil && n%20 == 0 {
			if err := look(ctx); err != nil {
				return 0, err
			}
		}
		select {
		case <-ctx.Done():
			return 0, audit.WithHint(context.Cause(ctx), "is the sidecar running? see `pgwitness status`")
		case <-tick.C:
		}
	}
}
