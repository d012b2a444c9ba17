package pgwitness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// wrapDistance is so much log that the numbers of transactions, of which the
// log holds the lower 32 bits, cannot have come round within it: each
// transaction writes a commit record of more than 16 bytes.
const wrapDistance = 1 << 36

// sight says which transactions a snapshot of the audited database sees. It
// takes no slot and waits for nobody, unlike a snapshot that a slot exports.
//
// What it sees is no prefix of the log: a transaction whose commit is in the log
// already may not be visible yet, as while it waits for a standby, and a later
// one may be. The two then touch different rows, because the first still holds
// its locks, so that a fold without it is the table without it.
type sight struct {
	before  audit.LSN // the log ended behind it when the snapshot was taken
	max     uint32    // lower half of the first transaction that had not begun
	running []uint32  // lower halves of those that had not ended; sorted
}

// look takes the sight of tx. before was read ahead of its snapshot.
func look(ctx context.Context, tx pgx.Tx, before audit.LSN) (sight, error) {
	text, err := statement("snapshot.sql")
	if err != nil {
		return sight{}, err
	}
	var snapshot string
	if err := tx.QueryRow(ctx, text).Scan(&snapshot); err != nil {
		return sight{}, fmt.Errorf("read snapshot: %w", err)
	}
	return parseSight(snapshot, before)
}

// parseSight reads the text form of a snapshot: 100:104:100,102.
func parseSight(text string, before audit.LSN) (sight, error) {
	s := sight{before: before}
	_, rest, _ := strings.Cut(text, ":")
	last, running, ok := strings.Cut(rest, ":")
	xmax, err := strconv.ParseUint(last, 10, 64)
	if !ok || err != nil {
		return s, fmt.Errorf("read snapshot %q: not of the form xmin:xmax:running", text)
	}
	s.max = uint32(xmax)
	for digits := range strings.SplitSeq(running, ",") {
		if digits == "" {
			continue
		}
		xid, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return s, fmt.Errorf("read snapshot %q: %w", text, err)
		}
		s.running = append(s.running, uint32(xid))
	}
	slices.Sort(s.running)
	return s, nil
}

// sees reports whether the snapshot has what the transaction of e did.
func (s *sight) sees(e *audit.Entry) bool {
	if e.CommitLSN >= s.before && int32(e.XID-s.max) >= 0 {
		return false
	}
	if e.CommitLSN+wrapDistance < s.before {
		return true
	}
	_, running := slices.BinarySearch(s.running, e.XID)
	return !running
}
