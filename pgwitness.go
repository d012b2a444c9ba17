// Package pgwitness ties the rooms together: it is the sidecar itself and the
// verbs that its command line offers.
//
// The life of a change, from the write-ahead log to ClickHouse:
//
//	cdc      reads frames, decodes, hands over whole committed transactions
//	enrich   says who, what, where and why: unsealed entries
//	chain    numbers and links them
//	sink     stores them by one atomic insert: the commit point
//	cdc      acknowledges to the slot what was stored, and nothing else
//
// pipeline.go is that protocol from top to bottom; docs/life-of-a-change.md
// follows one row through it.
//
// The package never repairs a state that it does not understand: it stops with
// an error that wraps audit.ErrNeedsHuman, and leaves everything as it is.
package pgwitness

import (
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/geo"
)

// Witness is the sidecar of one configuration.
type Witness struct {
	// Version of the program, for the entry that records a start.
	Version string
	// Operator is who runs the program. With it, reads of the trail and
	// verifications leave an entry in his name; without, they leave none.
	Operator string

	cfg           Config
	log           zerolog.Logger
	metrics       *metrics
	states        states
	places        *geo.Database // nil: none is configured; set when Run begins
	embedded      bool          // the trail lies in an embedded ClickHouse, whose users come from a file
	engineCommand []string      // the command line that serves an embedded ClickHouse; empty: our own
}

// New returns a Witness that does nothing until one of its verbs is called.
func New(cfg Config, log zerolog.Logger) *Witness {
	return &Witness{cfg: cfg, log: log, metrics: newMetrics()}
}
