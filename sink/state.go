package sink

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// State is what the next start of a stream compares with what it finds.
type State struct {
	// Since is the sequence of the first entry behind the last declared gap. The
	// positions of earlier entries may be of another history of the database,
	// so they say nothing about what is delivered again.
	Since         uint64
	Timeline      uint32    // of the cluster when it was last read; 0: that of the genesis
	Configuration string    // hash of the stream's configuration at the last start; "" when there was none
	Publication   string    // JSON; "" when it was never recorded
	CheckedAt     time.Time // when the publication was last found so
	Catalog       string    // JSON of what else was last seen in the database; "" when nobody looked
}

// Covering is the head that tells which redelivered changes the chain holds
// already: head itself, or one that covers nothing as long as no entry is
// stored behind the last declared gap.
func (s State) Covering(head audit.Head) audit.Head {
	if head.Size <= s.Since {
		head.Position = audit.Position{}
	}
	return head
}

// SaveState stores s in the place of what was saved before. A crash leaves the
// old or the new state.
func (s *Sink) SaveState(ctx context.Context, state State) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	var stream, configuration, publication, catalog proto.ColStr
	stream.Append(s.stream)
	configuration.Append(state.Configuration)
	publication.Append(state.Publication)
	catalog.Append(state.Catalog)
	checked := new(proto.ColDateTime64).WithPrecision(proto.PrecisionMicro).WithLocation(time.UTC)
	checked.Append(state.CheckedAt)
	input := proto.Input{
		{Name: "stream", Data: &stream},
		{Name: "since", Data: proto.ColUInt64{state.Since}},
		{Name: "timeline", Data: proto.ColUInt32{state.Timeline}},
		{Name: "configuration", Data: &configuration},
		{Name: "publication", Data: &publication},
		{Name: "checked_at", Data: checked},
		{Name: "catalog", Data: &catalog},
	}
	if err := s.note(ctx, "stream_state", input); err != nil {
		return fmt.Errorf("save state of stream %s: %w", s.stream, err)
	}
	return nil
}

// LastState is the state that was saved last, the zero State when there is
// none.
func (s *Sink) LastState(ctx context.Context) (State, error) {
	var rows, since proto.ColUInt64
	var timeline proto.ColUInt32
	var configuration, publication, catalog proto.ColStr
	var checked proto.ColInt64
	err := s.query(ctx, &s.asides,
		`SELECT count() AS rows, max(since) AS since, max(timeline) AS timeline, max(configuration) AS configuration,
		        max(publication) AS publication, max(toUnixTimestamp64Micro(checked_at)) AS checked, max(catalog) AS catalog
		   FROM (SELECT * FROM stream_state FINAL WHERE stream = {stream:String})`,
		proto.Results{{Name: "rows", Data: &rows}, {Name: "since", Data: &since}, {Name: "timeline", Data: &timeline},
			{Name: "configuration", Data: &configuration}, {Name: "publication", Data: &publication},
			{Name: "checked", Data: &checked}, {Name: "catalog", Data: &catalog}})
	if err == nil && len(rows) != 1 {
		err = errNoAnswer
	}
	if err != nil {
		return State{}, fmt.Errorf("read state of stream %s: %w", s.stream, err)
	}
	if rows[0] == 0 {
		return State{}, nil
	}
	return State{
		Since: since[0], Timeline: timeline[0], Configuration: configuration.Row(0),
		Publication: publication.Row(0), CheckedAt: time.UnixMicro(checked[0]).UTC(), Catalog: catalog.Row(0),
	}, nil
}
