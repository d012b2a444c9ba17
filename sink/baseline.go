package sink

import (
	"context"
	"fmt"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// SaveBaseline stores how far the baseline of a table is, in the place of what
// was saved before. A crash leaves the old or the new state.
func (s *Sink) SaveBaseline(ctx context.Context, relation uint32, state string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	var stream, text proto.ColStr
	stream.Append(s.stream)
	text.Append(state)
	input := proto.Input{
		{Name: "stream", Data: &stream},
		{Name: "relation", Data: proto.ColUInt32{relation}},
		{Name: "state", Data: &text},
	}
	if err := s.note(ctx, "baselines", input); err != nil {
		return fmt.Errorf("save baseline of stream %s: %w", s.stream, err)
	}
	return nil
}

// Baselines are the states that were saved last, by table.
func (s *Sink) Baselines(ctx context.Context) (map[uint32]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	var relation proto.ColUInt32
	var state proto.ColStr
	states := make(map[uint32]string)
	err := s.asides.do(ctx, func(client *ch.Client) error {
		return store.Do(ctx, client, ch.Query{
			Body:   `SELECT relation, state FROM baselines FINAL WHERE stream = {stream:String}`,
			Result: proto.Results{{Name: "relation", Data: &relation}, {Name: "state", Data: &state}},
			OnResult: func(context.Context, proto.Block) error {
				for i, id := range relation {
					states[id] = state.Row(i)
				}
				return nil
			},
			Parameters: []proto.Parameter{store.Param("stream", s.stream)},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read baselines of stream %s: %w", s.stream, err)
	}
	return states, nil
}

// NewestBaseline is the commit position of the newest stored entry of an
// existing row, from sequence since on; 0 when there is none.
func (s *Sink) NewestBaseline(ctx context.Context, since uint64) (audit.LSN, error) {
	var position proto.ColUInt64
	err := s.query(ctx, &s.asides,
		`SELECT max(commit_lsn) AS position
		   FROM audit_logs WHERE stream = {stream:String} AND sequence >= {since:UInt64} AND operation = 'baseline'`,
		proto.Results{{Name: "position", Data: &position}}, store.Param("since", since))
	if err != nil {
		return 0, fmt.Errorf("find newest baseline entry of stream %s: %w", s.stream, err)
	}
	if len(position) == 0 {
		return 0, nil
	}
	return audit.LSN(position[0]), nil
}
