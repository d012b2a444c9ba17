// Package verify checks a trail from its own bytes: it recomputes the hash of
// every entry from the columns that people query, follows the links from the
// genesis to the head, looks for what is missing, doubled or out of place, and
// says in five verdicts what holds, what does not, and what was not looked at.
//
// What is hashed is put together from the columns as they are received, and not
// by the lines that seal: the two agree because the published vectors say so, and
// tests with odd values. Two entries are hashed at a time (sha256x2), and nothing
// is called broken before the standard library has said so, too. Nothing is taken
// from the database but its columns, and nothing from an earlier verification.
// sql/verify holds the same checks for somebody who would rather not trust this
// program.
//
// It never writes, never repairs, and never takes "could not be read" for
// "holds" or for "broken": the first is an error, the second a Report.
package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// ErrNotChecked is wrapped by every error of Run: the trail could not be read,
// so nothing is said about it.
var ErrNotChecked = errors.New("trail not checked")

// source is where a trail lies: a database, or an archive of one.
type source interface {
	// Genesis counts the stored geneses of stream, and returns the hash of the
	// genesis when there is one, as there should be.
	Genesis(ctx context.Context, stream string) (hash audit.Hash, rows uint64, err error)

	// Extent counts the stored entries of stream and returns the highest
	// sequence among them, both of one moment. Last means nothing when rows is 0.
	Extent(ctx context.Context, stream string) (rows, last uint64, err error)

	// Read calls use with every stored entry of stream whose sequence is in
	// [from, to], in order of sequence; of equal sequences in any order. They
	// come in blocks, each lent for the time of the call. An error of use ends
	// the reading and is returned. Several goroutines may call Read at once.
	Read(ctx context.Context, stream string, from, to uint64, use func(*store.Columns) error) error
}

// Options says what is asked.
type Options struct {
	Stream string
	// Tail limits the check to the last entries, linked to the stored entry
	// before them; 0 checks from the genesis.
	Tail uint64
	// Parallel is the number of segments read at the same time; 0 means one
	// per processor. Memory grows with it, and not with the trail.
	Parallel int
	// Slot, where given, is compared with what the sidecar acknowledged.
	Slot *Slot
	// Vault, where given, is asked whether the tokens of personal values open.
	Vault vault
	// Now and MaxAge judge freshness: the newest entry must not be older than
	// MaxAge at Now. A MaxAge of 0 leaves freshness unchecked.
	Now    time.Time
	MaxAge time.Duration
}

// Slot is the replication slot of a stream as seen from both sides.
type Slot struct {
	Confirmed    audit.LSN // confirmed_flush_lsn in pg_replication_slots
	Acknowledged audit.LSN // the newest position in slot_positions; 0 when there is none
}

// Verifier checks trails of one source.
type Verifier struct {
	src     source
	log     zerolog.Logger
	segment uint64 // entries of a segment; 0: by the length of the trail
}

// New returns a Verifier that reads from src.
func New(src source, log zerolog.Logger) *Verifier {
	return &Verifier{src: src, log: log.With().Str("component", "verify").Logger()}
}

// Run checks one stream and reports. Entries that are stored while it runs are
// left for the next time. progress, which may be nil, is called now and then
// with the number of entries done and to do, never twice at once. A trail that
// does not hold is not an error: see Report.Err.
func (v *Verifier) Run(ctx context.Context, o Options, progress func(done, total uint64)) (Report, error) {
	start := time.Now()
	genesis, geneses, err := v.src.Genesis(ctx, o.Stream)
	if err != nil {
		return Report{}, notChecked(o, "read genesis", err)
	}
	rows, last, err := v.src.Extent(ctx, o.Stream)
	if err != nil {
		return Report{}, notChecked(o, "count entries", err)
	}
	if rows == 0 && geneses == 0 {
		err := audit.WithHint(errors.New("no such stream: neither a genesis nor an entry is stored"),
			"list the streams: SELECT stream, count() FROM audit_logs GROUP BY stream")
		return Report{}, notChecked(o, "find stream", err)
	}
	r := newRun(v.src, o, trail{genesis, geneses, rows, last}, progress)
	if o.Vault != nil {
		if r.closed, err = o.Vault.Closed(ctx); err != nil {
			return Report{}, notChecked(o, "look into the vault", err)
		}
	}
	r.cut(v.segment)
	if err := r.check(ctx); err != nil {
		return Report{}, notChecked(o, "read entries", err)
	}
	report := r.report()
	report.Elapsed = time.Since(start)
	v.log.Info().Str("stream", o.Stream).Uint64("checked", report.Checked).Bool("holds", report.Holds()).
		Dur("elapsed", report.Elapsed).Msg("trail verified")
	return report, nil
}

func notChecked(o Options, step string, err error) error {
	return fmt.Errorf("verify stream %s: %s: %w: %w", o.Stream, step, ErrNotChecked, err)
}

// parallel is the number of workers.
func (o Options) parallel() int {
	if o.Parallel > 0 {
		return o.Parallel
	}
	return runtime.GOMAXPROCS(0)
}
