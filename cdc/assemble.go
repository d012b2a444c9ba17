package cdc

import (
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"

	"github.com/pgwitness/pgwitness/audit"
)

// assembler makes transactions and feeds out of decoded messages. It belongs to
// one connection.
//
// A transaction is cut into parts where its own content says so: before the
// change that would bring the part above the limits, counted from the
// beginning of the transaction. So a redelivery is cut alike, and the last
// part of a transaction with changes never is empty.
type assembler struct {
	maxBytes   int
	maxChanges int

	feed    audit.Feed // complete transactions and parts, not delivered yet
	changes int        // in feed.Txs

	tx     audit.Tx       // the transaction or part that is being read
	open   bool           // between Begin and Commit
	weight int            // of tx
	slab   []audit.Change // tx.Changes is its end
	start  int            // where tx.Changes begins in slab
	txs    []audit.Tx     // feed.Txs is its end
	held   int            // weight of what slab and txs refer to, beside tx
	last   audit.LSN      // commit LSN of the transaction before: the order is checked
	end    audit.LSN      // everything below was put into feeds, and can be acknowledged
	seen   audit.LSN      // likewise, messages outside of transactions included: where another lane goes on
}

// errOrder is why a message was refused that came where it cannot be.
var errOrder = errors.New("it does not follow what came before")

// add takes one message.
func (a *assembler) add(m *message) error {
	switch m.kind {
	case pglogrepl.MessageTypeBegin:
		return a.begin(m)
	case pglogrepl.MessageTypeCommit:
		return a.commit(m)
	case pglogrepl.MessageTypeTruncate:
		for _, rel := range m.truncated {
			m.change.Relation = rel
			if err := a.change(m); err != nil {
				return err
			}
		}
		return nil
	case pglogrepl.MessageTypeMessage:
		if !m.change.Message.Transactional {
			return a.outside(m)
		}
		return a.change(m)
	case pglogrepl.MessageTypeInsert, pglogrepl.MessageTypeUpdate, pglogrepl.MessageTypeDelete:
		return a.change(m)
	}
	return nil
}

// begin opens a transaction. Transactions come in the order of their commits;
// one that does not is refused, because whoever recognises a redelivery by its
// position would take it for one.
func (a *assembler) begin(m *message) error {
	if a.open || m.commitLSN <= a.last {
		return fmt.Errorf("transaction %d with commit at %s, after %s: %w", m.xid, m.commitLSN, a.last, errOrder)
	}
	a.tx = audit.Tx{XID: m.xid, CommitLSN: m.commitLSN, CommitTime: m.time, First: true}
	a.open, a.last, a.weight = true, m.commitLSN, 0
	return nil
}

// change puts a change into the open transaction.
func (a *assembler) change(m *message) error {
	if !a.open {
		return fmt.Errorf("%s outside of a transaction: %w", m.change.Op, errOrder)
	}
	n := len(a.slab) - a.start
	if n > 0 && (n >= a.maxChanges || a.weight+m.weight > a.maxBytes) {
		a.cut()
	}
	a.append(&m.change)
	a.weight += m.weight
	return nil
}

// append adds a change to the transaction that is being read.
func (a *assembler) append(c *audit.Change) {
	if len(a.slab) == cap(a.slab) {
		a.renew(2 * (len(a.slab) - a.start))
	}
	a.slab = append(a.slab, *c)
}

// renew begins a slab for at least n changes. Only the transaction that is
// being read grows, and it lies at the end of a slab: what was handed out stays
// behind, and this transaction moves. Its old place was never handed out, and
// is cleared so that it keeps nothing alive.
func (a *assembler) renew(n int) {
	moving := a.slab[a.start:]
	a.slab = append(make([]audit.Change, 0, max(slabChanges, n)), moving...)
	a.start = 0
	clear(moving)
}

// cut ends a part of the open transaction and begins the next, which will be
// about as long.
func (a *assembler) cut() {
	n := len(a.slab) - a.start
	a.put(false)
	a.tx.First = false
	if cap(a.slab)-len(a.slab) < n {
		a.renew(n)
	}
}

// commit ends the open transaction.
func (a *assembler) commit(m *message) error {
	if !a.open || m.commitLSN != a.tx.CommitLSN || m.time != a.tx.CommitTime || m.endLSN <= m.commitLSN {
		return fmt.Errorf("commit at %s..%s for the transaction of %s: %w", m.commitLSN, m.endLSN, a.tx.CommitLSN, errOrder)
	}
	a.tx.EndLSN = m.endLSN
	a.put(true)
	a.open, a.end = false, max(a.end, m.endLSN)
	a.seen = max(a.seen, a.end)
	return nil
}

// put moves the part that was read into the feed.
func (a *assembler) put(last bool) {
	a.tx.Last = last
	a.tx.Changes = a.slab[a.start:len(a.slab):len(a.slab)]
	a.start = len(a.slab)
	a.push(a.tx, a.weight)
	a.tx.Changes, a.weight = nil, 0
}

func (a *assembler) push(tx audit.Tx, weight int) {
	if len(a.txs) == cap(a.txs) {
		a.txs = append(make([]audit.Tx, 0, max(slabTxs, 2*len(a.feed.Txs))), a.feed.Txs...)
	}
	a.txs = append(a.txs, tx)
	n := len(a.feed.Txs) + 1
	a.feed.Txs = a.txs[len(a.txs)-n : len(a.txs) : len(a.txs)]
	a.feed.Bytes += txWeight + weight
	a.changes += len(tx.Changes)
	a.held += weight
}

// outside makes a transaction of its own of a message that belongs to none. It
// is handled when it is read, so it never comes between Begin and Commit.
//
// The server gives the end of the record as its position, and that may be the
// very position at which the next commit record begins: a transaction that
// ends with such a message would share its first identity with it, and one of
// the two would be taken for a redelivery. So the position of the message is
// that of the last byte of its record, which nothing else can have.
func (a *assembler) outside(m *message) error {
	position := m.change.LSN
	if a.open || position == 0 {
		return fmt.Errorf("non-transactional message at %s: %w", position, errOrder)
	}
	a.append(&m.change)
	tx := audit.Tx{CommitLSN: position - 1, First: true, Last: true}
	tx.Changes = a.slab[a.start:len(a.slab):len(a.slab)]
	a.start = len(a.slab)
	a.push(tx, m.weight)
	a.seen = max(a.seen, position)
	return nil
}

// mark puts a transaction without changes behind what was read, by which the
// consumer may acknowledge everything below end.
func (a *assembler) mark(end audit.LSN) {
	a.push(audit.Tx{EndLSN: end, First: true, Last: true}, 0)
	a.end = end
	a.seen = max(a.seen, end)
}

// full reports whether the feed must be delivered before more is read.
func (a *assembler) full() bool {
	return a.feed.Bytes >= a.maxBytes || a.changes >= a.maxChanges
}

// take returns the feed and begins the next one. Small feeds go on in the slabs
// of those before them, large ones do not: they would keep each other alive.
func (a *assembler) take() audit.Feed {
	f := a.feed
	a.feed, a.changes = audit.Feed{}, 0
	if a.held > slabHold {
		a.txs, a.held = nil, 0
		a.renew(2 * (len(a.slab) - a.start))
	}
	return f
}
