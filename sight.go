package pgwitness

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// wrapDistance is so much log that fewer than 2^31 transactions fit into it, since
// each writes a record of more than 16 bytes when it ends: within it, the lower 32
// bits that the log holds of a number tell the whole one.
const wrapDistance = 1 << 35

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

// sees reports whether the snapshot has what the transaction of e did. What is
// far back in the log it has.
func (s *sight) sees(e *audit.Entry) bool {
	return e.CommitLSN+wrapDistance < s.before || s.snapshot.Sees(e.XID)
}
