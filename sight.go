package pgwitness

import (
	"context"
	"fmt"

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
	before   audit.LSN // the log ended behind it when the snapshot was taken
	snapshot audit.Snapshot
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
	seen, err := audit.ParseSnapshot(snapshot)
	return sight{before, seen}, err
}

// sees reports whether the snapshot has what the transaction of e did.
func (s *sight) sees(e *audit.Entry) bool {
	if e.CommitLSN < s.before {
		old := e.CommitLSN+wrapDistance < s.before
		if old || int32(e.XID-uint32(s.snapshot.Max)) >= 0 {
			return true // its number is not near those of the snapshot
		}
	}
	return s.snapshot.Sees(e.XID)
}
