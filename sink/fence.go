package sink

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/store"
)

// fence returns when no insert of this stream runs on the server any more, so
// that the head it then holds cannot be moved by one. Inserts are found by
// their query id. They are given FenceWait to end by themselves and killed
// after that.
//
// This is complete because an insert's rows are only sent after the server has
// accepted the statement: from then to its end it is in system.processes. The
// user sees his own queries there; an earlier process must have run as the same
// user.
//
// A killed insert whose rows have stopped in the middle ends when the server
// has waited StallTimeout for the next one.
func (s *Sink) fence(ctx context.Context) error {
	begun, pause, killed := time.Now(), 10*time.Millisecond, false
	for {
		running, err := s.running(ctx)
		if err != nil {
			return fmt.Errorf("fence inserts in flight: %w", err)
		}
		if running == 0 {
			return nil
		}
		if !killed && time.Since(begun) > s.cfg.FenceWait {
			s.log.Warn().Int("inserts", running).Msg("killing inserts in flight")
			if err := s.kill(ctx); err != nil {
				return fmt.Errorf("kill inserts in flight: %w", err)
			}
			s.fenced(running)
			killed = true
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("fence %d inserts in flight: %w", running, err)
		}
		pause = min(2*pause, 500*time.Millisecond)
	}
}

// running counts the inserts of this stream on the server.
func (s *Sink) running(ctx context.Context) (int, error) {
	var n proto.ColUInt64
	err := s.query(ctx, &s.inserts,
		`SELECT count() AS n FROM system.processes WHERE startsWith(query_id, {prefix:String})`,
		proto.Results{{Name: "n", Data: &n}}, store.Param("prefix", s.prefix()))
	if err != nil {
		return 0, err
	}
	return int(n.Row(0)), nil
}

// kill tells the inserts of this stream to end. It does not wait: one that
// waits for rows does not hear it before StallTimeout.
func (s *Sink) kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	return s.inserts.do(ctx, func(client *ch.Client) error {
		return store.Do(ctx, client, ch.Query{
			Body:       `KILL QUERY WHERE startsWith(query_id, {prefix:String}) ASYNC`,
			Parameters: []proto.Parameter{store.Param("prefix", s.prefix())},
			Result:     (&proto.Results{}).Auto(),
			OnResult:   func(context.Context, proto.Block) error { return nil },
		})
	})
}
