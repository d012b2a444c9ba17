package cdc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/pgwitness/pgwitness/audit"
)

// errNotAncestor is that the server's history does not come from a timeline.
var errNotAncestor = errors.New("the timeline is not an ancestor of the server's")

// Fork asks the server, which is on timeline to, where its history left
// timeline from: the log of the two is the same below that position. It is 0
// when from is no ancestor of to, so that nothing is known to be the same.
func (r *Reader) Fork(ctx context.Context, from, to uint32) (audit.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
	defer cancel()
	conn, _, err := dial(ctx, r.cfg.DSN)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	history, err := pglogrepl.TimelineHistory(ctx, conn, int32(to))
	if err != nil {
		return 0, fmt.Errorf("read history of timeline %d: %w", to, err)
	}
	lsn, err := forkOf(string(history.Content), from)
	if errors.Is(err, errNotAncestor) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read history of timeline %d: %w", to, err)
	}
	return lsn, nil
}

// forkOf reads the lines of a history file: "1	0/3000000	reason", one per
// ancestor, oldest first.
func forkOf(history string, from uint32) (audit.LSN, error) {
	for line := range strings.Lines(history) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		timeline, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("read line %q: %w", strings.TrimSpace(line), err)
		}
		if uint32(timeline) == from {
			return audit.ParseLSN(fields[1])
		}
	}
	return 0, errNotAncestor
}
