// Package enrich turns committed transactions into entries of the trail: it
// says who made each change, what it was, from where and why, and how that is
// known. The sequence and the hashes are left to chain.
//
// A stamp (a logical message that the statement trigger wrote into the log)
// governs the changes after it, until the next stamp of the same transaction.
// Changes before any stamp are of an unknown actor. Whatever is wrong with a
// stamp, a comment or a rule, the change becomes an entry and the entry says
// what was wrong.
//
// The result is a function of the transaction and the configuration alone, so
// that a redelivery makes the same bytes. The one exception is the baseline,
// rows that are older than the log: see Desk. This package never does I/O, never
// reads a clock, never blocks and never drops a change.
package enrich

import (
	"github.com/pgwitness/pgwitness/audit"
)

// Enricher holds the rules of one stream and the state of the transaction at
// hand. It is owned by one goroutine.
type Enricher struct {
	stream  string
	db      string // stamps must name it; empty: any
	auth    *authenticator
	rules   *rules
	plans   map[uint32]*plan
	stamps  stampCache
	unknown *context // of changes that no stamp governs
	own     *context // of what pgwitness itself says
	desk    *Desk
	manned  bool // somebody waits at the desk; for the transaction at hand

	tx      txState
	ids     audit.EntryIDs
	arena   arena
	scratch []byte

	blanks   []audit.Blank  // since the last call of Blanks
	round    int            // calls of Blanks so far
	holes    []hole         // of the text that is being written
	whose    []string       // subjects of the image at hand, by their index in the plan
	name     []byte         // scratch of subjects
	position audit.Position // of the entry at hand

	stats   Stats
	notices []Notice
}

// txState lives from the first part of a transaction to its last.
type txState struct {
	xid     uint32
	ordinal uint32
	context *context       // of the last good stamp; nil before the first
	rows    map[uint32]int // rows changed per relation, all parts so far

	activity activity // of the rows that say who acts, all parts so far

	announced bool // pgwitness setup said that it is what acts here
}

// Stats counts what the metrics tell. The numbers grow for the life of the
// Enricher.
type Stats struct {
	Entries    uint64
	BySource   [actorSources]uint64 // entries by how the actor is known, see ActorSource
	Bypassed   uint64               // entries without a stamp
	Forged     uint64               // messages with our prefix and a bad MAC
	RuleErrors uint64               // action rules that failed on a row
	Refused    uint64               // attempts that a guard refused
}

// New returns an Enricher for stream. key is the stamp key of the audited
// database; with it, stamps are told from forgeries.
func New(stream string, cfg Config, key [32]byte) (*Enricher, error) {
	r, err := compileRules(cfg)
	if err != nil {
		return nil, err
	}
	e := &Enricher{
		stream: stream,
		db:     cfg.Database,
		auth:   newAuthenticator(key),
		rules:  r,
		plans:  make(map[uint32]*plan),
		stamps: newStampCache(),
		desk:   new(Desk),
	}
	e.unknown = newContext(nil, r, rowClaims{})
	e.own = ownContext(r)
	return e, nil
}

// Stats returns the counts so far.
func (e *Enricher) Stats() Stats { return e.stats }

// Baseline is where chunks of existing rows are handed in.
func (e *Enricher) Baseline() *Desk { return e.desk }

// Append appends the entries of tx to dst and returns it. before is the
// timestamp of the preceding entry of the chain, which a message outside of
// any transaction inherits, since the log gives it no time of its own.
//
// Parts of one transaction must be given one after the other, the first first.
func (e *Enricher) Append(dst []audit.Entry, tx *audit.Tx, before int64) []audit.Entry {
	if tx.First {
		e.tx = txState{xid: tx.XID, rows: e.tx.rows}
		clear(e.tx.rows)
	}
	e.countRows(tx)
	e.readActivity(tx)
	if e.manned = e.desk.enter(); e.manned {
		defer e.desk.leave(tx)
	}
	start := len(dst)
	for i := range tx.Changes {
		c := &tx.Changes[i]
		if c.Op == audit.Logical {
			dst = e.appendMessage(dst, tx, c, before)
			continue
		}
		dst = e.appendRow(dst, tx, c)
		if e.manned && e.desk.window != nil {
			e.desk.window.take(tx.XID, c)
		}
	}
	e.stats.Entries += uint64(len(dst) - start)
	return dst
}

// countRows adds up the rows that tx changes per table, before the first entry
// is made, so that a bulk change is recognised from its first row on. Of a
// transaction in several parts, each part is judged by what was seen up to its
// end.
func (e *Enricher) countRows(tx *audit.Tx) {
	whole := tx.First && tx.Last
	if whole && len(tx.Changes) <= e.rules.bulkThreshold {
		return
	}
	if e.tx.rows == nil {
		e.tx.rows = make(map[uint32]int)
	}
	for i := range tx.Changes {
		if r := tx.Changes[i].Relation; r != nil {
			e.tx.rows[r.ID]++
		}
	}
}

// appendRow makes the entry of a row change or TRUNCATE.
func (e *Enricher) appendRow(dst []audit.Entry, tx *audit.Tx, c *audit.Change) []audit.Entry {
	ctx := e.governing()
	p := e.plan(c.Relation)
	bypassed := ctx == e.unknown
	if p.row != (rowColumns{-1, -1}) || e.rules.activity && e.tx.activity != (activity{}) {
		ctx = e.rowContext(ctx, p, c)
	}
	dst, n := e.begin(dst, ctx, tx)
	n.ResourceType = p.resourceType
	n.SchemaName, n.TableName = p.schema, p.table
	n.Operation = operationText(c.Op)

	notes := e.values(n, p, c)
	n.ResourceID = e.resourceID(p, c)
	action, ruleError := e.rules.action(p, c, e.tx.rows[c.Relation.ID])
	n.Action = action
	notes.personalID = p.personalKey && n.ResourceID != nil
	if ruleError != "" {
		notes.ruleError = ruleError
		e.stats.RuleErrors++
	}
	n.Attribution = e.attribution(ctx, notes)

	if bypassed {
		e.stats.Bypassed++
	}
	e.stats.BySource[ctx.who]++
	return dst
}

// governing is the context of the change at hand.
func (e *Enricher) governing() *context {
	if e.tx.context == nil {
		return e.unknown
	}
	return e.tx.context
}

// begin appends an entry that has everything that does not depend on the row.
func (e *Enricher) begin(dst []audit.Entry, ctx *context, tx *audit.Tx) ([]audit.Entry, *audit.Entry) {
	e.position = audit.Position{CommitLSN: tx.CommitLSN, Ordinal: e.tx.ordinal}
	if ctx.personal != nil {
		e.renew(ctx)
	}
	dst = append(dst, ctx.template)
	n := &dst[len(dst)-1]
	n.Stream = e.stream
	n.Timestamp = tx.CommitTime
	n.XID = tx.XID
	n.CommitLSN = tx.CommitLSN
	n.Ordinal = e.tx.ordinal
	n.ID = e.ids.ID(e.stream, tx.CommitTime, n.Position())
	e.tx.ordinal++
	return dst, n
}

// Forget says that no entry made so far is read any more: the next ones take
// over their memory.
func (e *Enricher) Forget() { e.arena.reset() }

// arena hands out memory for the values of entries in large blocks. A full
// block is left to those who point into it; the last one is used again from its
// beginning after a reset.
type arena struct{ block []byte }

const arenaBlock = 256 << 10

// save copies b, never returning NULL.
func (a *arena) save(b []byte) audit.Text {
	if cap(a.block)-len(a.block) < len(b) || a.block == nil {
		a.block = make([]byte, 0, max(arenaBlock, len(b)))
	}
	start := len(a.block)
	a.block = append(a.block, b...)
	return a.block[start:len(a.block):len(a.block)]
}

// reset gives the last block back, unless it was made for one huge value.
func (a *arena) reset() {
	if a.block = a.block[:0]; cap(a.block) > arenaBlock {
		a.block = nil
	}
}
