package sink

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// ErrOvertaken is returned by Insert when the entries to insert, or the first
// of them, are stored to the last byte, and yet the head is another than the
// one that this batch leads to: somebody who reads the same log has stored them
// in batches of his own. That is another sidecar of this stream: one that took
// over, or one that was taken over from and does not know it yet, because its
// connection to the database hangs. No harm is done. The caller recovers the
// head and goes on, if the stream is still his.
var ErrOvertaken = errors.New("another sidecar of this stream has stored the same entries")

// overtaken tells a twin, who seals the same entries, from a stranger: it
// compares the last entry that both b and the chain up to the head got have.
func (s *Sink) overtaken(ctx context.Context, b *Batch, got audit.Head) (bool, error) {
	common := min(got.Size, b.head.Size)
	if common <= b.first {
		return false, nil
	}
	var own audit.Entry
	b.columns.Row(int(common-1-b.first), &own)
	if common == got.Size {
		return own.Hash == got.Hash, nil
	}
	var seal proto.ColFixedStr64
	err := s.query(ctx, &s.inserts, `SELECT seal FROM audit_logs WHERE stream = {stream:String} AND sequence = {last:UInt64}`,
		proto.Results{{Name: "seal", Data: &seal}}, store.Param("last", common-1))
	if err == nil && len(seal) == 0 {
		err = errNoAnswer
	}
	if err != nil {
		return false, fmt.Errorf("read entry %d: %w", common-1, err)
	}
	return len(seal) == 1 && own.Hash == audit.Hash(seal[0][32:]), nil
}

// judge decides what the head means that was read back after an attempt to
// insert b behind head: stored, not stored, or an error that ends Insert. With
// retry the server did not answer, and must be asked again.
func (s *Sink) judge(ctx context.Context, b *Batch, head, got audit.Head) (stored bool, err, retry error) {
	stored, err = b.stored(head, got)
	if err == nil {
		return stored, nil, nil
	}
	twin, retry := s.overtaken(ctx, b, got)
	if retry != nil {
		return false, nil, retry
	}
	if twin {
		return false, fmt.Errorf("insert entries %d to %d of stream %s: %w: the stored head is %s",
			b.first, b.head.Size-1, s.stream, ErrOvertaken, describe(got)), nil
	}
	return false, err, nil
}
