package enrich

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pgwitness/pgwitness/audit"
)

// Desk is where the reader of existing rows hands its chunks to the Enricher.
//
// For each chunk the reader announces the window (Expect), writes the low mark
// into the log, reads the rows in one snapshot, hands them over (Hand), and
// writes the high mark. The Enricher comes past both marks in the log: from the
// low one on it remembers what became of each row, and at the high one it makes
// an entry of every row of the chunk, as it is there: changed in between, it
// has its new values; deleted, it has no entry.
//
// That is right if the snapshot saw every transaction that committed before the
// low mark. One whose commit record is written is in the log already, and yet
// invisible until the server has taken it off the list of running ones, which
// takes long where a synchronous standby has to confirm. So the commits that
// the log tells of are remembered until a snapshot has seen them, and a chunk
// that missed one is refused. What was committed before the log was followed is
// the reader's business.
//
// The reader's calls may come from any goroutine. Nothing here outlives the
// process: a chunk that dies with it leaves marks in the log that nobody knows.
type Desk struct {
	followed atomic.Bool

	mu      sync.Mutex
	window  *window        // of the chunk at hand; nil when there is none
	seen    audit.Snapshot // the newest that is known
	before  []uint32       // unseen commits before the low mark
	commits []uint32       // and those since
}

// Follow begins to remember commits. What the log told before is not known.
func (d *Desk) Follow() { d.followed.Store(true) }

// Leave ends it: there is no chunk to come.
func (d *Desk) Leave() {
	d.followed.Store(false)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.window, d.before, d.commits, d.seen = nil, nil, nil, audit.Snapshot{}
}

// Expect announces a window on a table, before its low mark is written. key
// names the columns that tell its rows apart; without any the chunk is the
// whole table. A window before it is given up. The channel gets one Outcome.
func (d *Desk) Expect(id audit.ChunkID, relation uint32, key []string) <-chan audit.Outcome {
	w := newWindow(id, relation, key)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.window = w
	return w.done
}

// Hand gives the rows, before the high mark is written.
func (d *Desk) Hand(c *audit.Chunk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.window != nil && d.window.id == c.ID {
		d.window.hand(c)
	}
}

// Withdraw gives the window up.
func (d *Desk) Withdraw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.window = nil
}

// Seen tells of a newer snapshot: what it saw need not be remembered.
func (d *Desk) Seen(s audit.Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saw(s)
}

// saw forgets the commits that s saw.
func (d *Desk) saw(s audit.Snapshot) {
	if s.Max < d.seen.Max {
		return
	}
	d.seen = s
	d.before = slices.DeleteFunc(d.before, s.Sees)
	d.commits = slices.DeleteFunc(d.commits, s.Sees)
}

// enter takes the desk for a transaction of the log; false when nobody waits
// there.
func (d *Desk) enter() bool {
	if !d.followed.Load() {
		return false
	}
	d.mu.Lock()
	return true
}

// leave gives it back.
func (d *Desk) leave(tx *audit.Tx) {
	if tx.Last && tx.XID != 0 && !d.seen.Sees(tx.XID) {
		d.commits = append(d.commits, tx.XID)
	}
	d.mu.Unlock()
}

// low is met at the low mark.
func (d *Desk) low(id audit.ChunkID) {
	w := d.window
	if w == nil || w.id != id || w.met {
		return // of another process, or written a second time by whoever can read the log
	}
	w.met = true
	d.before = append(d.before, d.commits...)
	d.commits = d.commits[:0]
}

// altered is met where a command altered or dropped tables: what was read of one
// of them may be of before it, or of after it, and of one that is gone there are
// no rows.
func (d *Desk) altered(by *ddl) {
	w := d.window
	if w == nil || !w.met {
		return // a chunk whose low mark comes later is read behind the command
	}
	if slices.Contains(by.Gone, w.relation) {
		w.spoil("the table was dropped meanwhile")
	}
	for i := range by.Altered {
		if by.Altered[i].After.OID == w.relation {
			w.spoil("the table was altered meanwhile")
		}
	}
}

// high is met at the high mark. It returns the window, if its chunk is to be
// made entries of now; the caller tells the outcome.
func (d *Desk) high(id audit.ChunkID) *window {
	w := d.window
	if w == nil || w.id != id {
		return nil
	}
	d.window = nil
	missed := 0
	if w.chunk != nil {
		s := &w.chunk.Snapshot
		for _, xid := range d.before {
			if !s.Sees(xid) {
				missed++
			}
		}
	}
	d.commits = append(d.before, d.commits...)
	d.before = nil
	switch {
	case w.chunk == nil || !w.met:
		w.spoil("a mark of it came without the other, or without its rows")
	case missed > 0:
		w.spoil("its snapshot did not see a transaction that had committed before")
	}
	if w.chunk != nil {
		d.saw(w.chunk.Snapshot)
	}
	if w.spoiled != "" {
		w.done <- audit.Outcome{Why: w.spoiled, TooMuch: w.tooMuch}
		return nil
	}
	return w
}
