package sink

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Recover returns the stored head, from which a start goes on. Before it reads,
// it fences inserts of earlier processes that are still running, so that none
// of them can move the head afterwards. The Hash of an empty chain is that of
// its genesis, which the sink does not know: it is zero then.
//
// It makes one attempt: whoever starts decides how long to try.
func (s *Sink) Recover(ctx context.Context) (audit.Head, error) {
	if err := s.fence(ctx); err != nil {
		return audit.Head{}, fmt.Errorf("recover head of stream %s: %w", s.stream, err)
	}
	extent, err := s.extent(ctx)
	if err != nil {
		return audit.Head{}, fmt.Errorf("recover head of stream %s: %w", s.stream, err)
	}
	if extent.rows == 0 {
		return audit.Head{}, nil
	}
	// Odd states at start are refused, not repaired.
	if extent.rows != extent.last-extent.first+1 {
		return audit.Head{}, audit.WithHint(
			fmt.Errorf("recover head of stream %s: %d entries are stored with sequences %d to %d: %w",
				s.stream, extent.rows, extent.first, extent.last, audit.ErrNeedsHuman),
			"entries are missing or double: pgwitness verify --full names them")
	}
	head, err := s.headSince(ctx, audit.Head{Size: extent.last + 1})
	if err != nil {
		return audit.Head{}, fmt.Errorf("recover head of stream %s: %w", s.stream, err)
	}
	return head, nil
}

// HashAt is the hash of the stored entry with that sequence.
func (s *Sink) HashAt(ctx context.Context, sequence uint64) (audit.Hash, error) {
	var seal proto.ColFixedStr64
	err := s.query(ctx, &s.inserts,
		`SELECT seal FROM audit_logs WHERE stream = {stream:String} AND sequence = {sequence:UInt64}`,
		proto.Results{{Name: "seal", Data: &seal}}, store.Param("sequence", sequence))
	if err == nil && len(seal) == 0 {
		err = errNoAnswer // the head says that there is one
	}
	if err != nil {
		return audit.Hash{}, fmt.Errorf("read hash of entry %d of stream %s: %w", sequence, s.stream, err)
	}
	if len(seal) != 1 {
		return audit.Hash{}, fmt.Errorf("read hash of entry %d of stream %s: it is stored %d times: %w", sequence, s.stream, len(seal), audit.ErrNeedsHuman)
	}
	return audit.Hash(seal[0][32:]), nil
}

// errNoAnswer is that a query ended without an error and without the row that it
// always has. A server does that to a query that it ends: at KILL QUERY, and when
// it shuts down. So nothing that decides over a chain is asked by a query that
// may rightly find no rows: it is asked for a count, or a maximum, of which
// there is always one.
var errNoAnswer = errors.New("the server ended the query without an answer")

// extent is how much of a chain is stored.
type extent struct{ rows, first, last uint64 }

func (s *Sink) extent(ctx context.Context) (extent, error) {
	var rows, first, last proto.ColUInt64
	err := s.query(ctx, &s.inserts,
		`SELECT count() AS rows, min(sequence) AS first, max(sequence) AS last
		   FROM audit_logs WHERE stream = {stream:String} SETTINGS optimize_use_projections = 0`,
		proto.Results{{Name: "rows", Data: &rows}, {Name: "first", Data: &first}, {Name: "last", Data: &last}})
	if err != nil {
		return extent{}, err
	}
	if len(rows) != 1 {
		return extent{}, fmt.Errorf("count entries: %w", errNoAnswer)
	}
	return extent{rows[0], first[0], last[0]}, nil
}

// headSince reads the stored head, knowing that it was at head before. It
// returns head itself when nothing was added; of an older head it compares
// what head knows of it, its Size alone if that is all.
func (s *Sink) headSince(ctx context.Context, head audit.Head) (audit.Head, error) {
	var (
		rows, last, lsn proto.ColUInt64
		ordinal         proto.ColUInt32
		timestamp       proto.ColInt64
		seal            proto.ColFixedStr64
	)
	from := head.Size
	if from > 0 {
		from-- // the entry at the head must still be there
	}
	err := s.query(ctx, &s.inserts,
		`SELECT count() AS rows, max(sequence) AS last, argMax(commit_lsn, sequence) AS lsn,
		        argMax(ordinal, sequence) AS ordinal, argMax(toUnixTimestamp64Micro(timestamp), sequence) AS timestamp,
		        argMax(seal, sequence) AS seal
		   FROM audit_logs WHERE stream = {stream:String} AND sequence >= {from:UInt64}`,
		proto.Results{{Name: "rows", Data: &rows}, {Name: "last", Data: &last}, {Name: "lsn", Data: &lsn},
			{Name: "ordinal", Data: &ordinal}, {Name: "timestamp", Data: &timestamp}, {Name: "seal", Data: &seal}},
		store.Param("from", from))
	if err != nil {
		return audit.Head{}, fmt.Errorf("read head: %w", err)
	}
	switch {
	case len(rows) != 1:
		return audit.Head{}, fmt.Errorf("read head: %w", errNoAnswer)
	case rows[0] == 0 && head.Size == 0:
		return head, nil // still empty; its hash is that of the genesis
	case rows[0] == 0:
		return audit.Head{}, audit.WithHint(
			fmt.Errorf("read head: entry %d was stored and is gone: %w", from, audit.ErrNeedsHuman),
			"somebody deleted from audit_logs: pgwitness verify --full, and compare with a checkpoint")
	case rows[0] != last[0]-from+1:
		return audit.Head{}, audit.WithHint(
			fmt.Errorf("read head: %d entries are stored from sequence %d to %d: %w", rows[0], from, last[0], audit.ErrNeedsHuman),
			"entries are missing or double: pgwitness verify --full names them")
	}
	return audit.Head{
		Size: last[0] + 1, Hash: audit.Hash(seal[0][32:]),
		Position:  audit.Position{CommitLSN: audit.LSN(lsn[0]), Ordinal: ordinal[0]},
		Timestamp: timestamp[0],
	}, nil
}

// query runs a SELECT about this stream that has one block of result.
func (s *Sink) query(ctx context.Context, l *link, body string, results proto.Result, params ...proto.Parameter) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	return l.do(ctx, func(client *ch.Client) error {
		return store.Do(ctx, client, ch.Query{
			Body: body, Result: results,
			Parameters: append(params, store.Param("stream", s.stream)),
		})
	})
}
