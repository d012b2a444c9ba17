package demo

import (
	"maps"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// TableCounts are the row changes of one table; Truncated counts TRUNCATEs.
type TableCounts struct {
	Inserted, Updated, Deleted, Truncated int64
}

// Total is the number of entries that these changes make in a trail.
func (c TableCounts) Total() int64 { return c.Inserted + c.Updated + c.Deleted + c.Truncated }

func (c TableCounts) plus(d TableCounts) TableCounts {
	return TableCounts{c.Inserted + d.Inserted, c.Updated + d.Updated, c.Deleted + d.Deleted, c.Truncated + d.Truncated}
}

// Counts are the row changes by table, partitions under the name of their
// root. A row that moves between partitions counts as a delete and an insert,
// because that is what the write-ahead log says.
type Counts map[string]TableCounts

// Total is the sum over the given tables, over all when none is given.
func (c Counts) Total(tables ...string) int64 {
	var sum int64
	if len(tables) == 0 {
		for _, t := range c {
			sum += t.Total()
		}
	}
	for _, name := range tables {
		sum += c[name].Total()
	}
	return sum
}

func (c Counts) add(table string, n TableCounts) {
	if n != (TableCounts{}) {
		c[table] = c[table].plus(n)
	}
}

func (c Counts) merge(d Counts) {
	for table, n := range d {
		c.add(table, n)
	}
}

// record counts what st did, by the command tag that the server answered.
func (c Counts) record(st statement, tag pgconn.CommandTag) {
	if st.table == "" {
		return
	}
	n := tag.RowsAffected()
	switch {
	case st.moves:
		c.add(st.table, TableCounts{Inserted: n, Deleted: n})
	case tag.Insert():
		c.add(st.table, TableCounts{Inserted: n})
	case tag.Update():
		c.add(st.table, TableCounts{Updated: n})
	case tag.Delete():
		c.add(st.table, TableCounts{Deleted: n})
	case tag.String() == "TRUNCATE TABLE":
		c.add(st.table, TableCounts{Truncated: 1})
	}
	if st.trigger != "" {
		c.add(st.trigger, TableCounts{Inserted: n})
	}
}

// Tally is what the shop has done. Changes holds what committed transactions
// changed, counted from command tags after the server had confirmed the
// commit. As long as Unknown is 0 it is exact; a transaction whose connection
// was lost between COMMIT and its answer is in Unknown, and its changes are
// nowhere: a Census counts those too.
type Tally struct {
	Changes    Counts
	Committed  int64            // transactions confirmed
	RolledBack int64            // transactions that ended without a commit, on purpose or not
	Refused    int64            // of those: by a constraint or a guard of the database
	Retried    int64            // of those: deadlocks and serialization failures that were tried again
	Unknown    int64            // transactions whose outcome nobody told us
	Programs   map[string]int64 // committed transactions by program
	Deeds      map[string]int64 // deeds that ended well, by "program/deed"
}

// ledger keeps the Tally; all workers write to it.
type ledger struct {
	mu *sync.Mutex
	*Tally
}

func newLedger() ledger {
	return ledger{new(sync.Mutex), &Tally{Changes: make(Counts), Programs: make(map[string]int64), Deeds: make(map[string]int64)}}
}

// note changes the tally under the lock.
func (l ledger) note(change func(t *Tally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l.Tally)
}

func (l ledger) committed(program string, changes Counts) {
	l.note(func(t *Tally) {
		t.Committed++
		t.Programs[program]++
		t.Changes.merge(changes)
	})
}

func (l ledger) snapshot() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := *l.Tally
	out.Changes = maps.Clone(l.Changes)
	out.Programs = maps.Clone(l.Programs)
	out.Deeds = maps.Clone(l.Deeds)
	return out
}
