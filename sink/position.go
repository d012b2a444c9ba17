package sink

import (
	"context"
	"fmt"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// SavePosition stores the position that is about to be acknowledged to the
// slot. Whoever acknowledges calls it first: then a slot that is found ahead of
// the last saved position was moved by somebody else. It makes one attempt,
// and may be repeated.
//
// A crash between the two leaves the slot behind the saved position, and the
// changes between them are delivered again and dropped.
func (s *Sink) SavePosition(ctx context.Context, lsn audit.LSN) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	var stream proto.ColStr
	stream.Append(s.stream)
	input := proto.Input{{Name: "stream", Data: &stream}, {Name: "lsn", Data: proto.ColUInt64{uint64(lsn)}}}
	if err := s.note(ctx, "slot_positions", input); err != nil {
		return fmt.Errorf("save position %s of stream %s: %w", lsn, s.stream, err)
	}
	return nil
}

// note adds a row to a table beside the trail, and returns when it is stored.
func (s *Sink) note(ctx context.Context, table string, row proto.Input) error {
	return s.asides.do(ctx, func(client *ch.Client) error {
		return store.Do(ctx, client, ch.Query{
			Body: row.Into(table), Input: row,
			Settings: []ch.Setting{{Key: "async_insert", Value: "0", Important: true}},
		})
	})
}

// LastPosition is the position that was saved last, 0 when there is none.
func (s *Sink) LastPosition(ctx context.Context) (audit.LSN, error) {
	var lsn proto.ColUInt64
	err := s.query(ctx, &s.asides, `SELECT max(lsn) AS lsn FROM (SELECT lsn FROM slot_positions FINAL WHERE stream = {stream:String})`,
		proto.Results{{Name: "lsn", Data: &lsn}})
	if err == nil && len(lsn) != 1 {
		err = errNoAnswer
	}
	if err != nil {
		return 0, fmt.Errorf("read last position of stream %s: %w", s.stream, err)
	}
	return audit.LSN(lsn[0]), nil
}
