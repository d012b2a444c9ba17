package audit

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ChunkID names a Chunk. It is random, and good for one chunk only.
type ChunkID [16]byte

// String renders the id in lower-case hexadecimal.
func (id ChunkID) String() string { return hex.EncodeToString(id[:]) }

// Chunk is a run of rows as they lay in a table at one moment, read for the
// baseline: rows that were there before the log was read.
type Chunk struct {
	ID       ChunkID
	Relation *Relation // as the catalog had it at that moment
	Rows     []Tuple   // whole, text form, in the order of the key if there is one
	Snapshot Snapshot  // what the moment was
	// Restart says that the chunk is the whole of a table without a key, and
	// takes the place of all that was known of the table.
	Restart bool
}

// Outcome is what became of a Chunk.
type Outcome struct {
	Made     bool   // its entries were made; else it must be read again
	Entries  int    // how many: rows that are gone by then have none
	Position LSN    // of the entries
	Why      string // it was not used
	TooMuch  bool   // it was not used because too much changed meanwhile: a smaller one may be
}

// Snapshot says which transactions a statement of PostgreSQL could see:
// pg_current_snapshot(). The numbers are 64 bits wide there.
type Snapshot struct {
	Min     uint64   // all below it had ended
	Max     uint64   // none at or above it had ended
	Running []uint64 // in between, those that had not ended; sorted
}

// ParseSnapshot reads the text form of a snapshot: 100:104:100,102.
func ParseSnapshot(text string) (Snapshot, error) {
	var s Snapshot
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return s, fmt.Errorf("parse snapshot %q: want three parts", text)
	}
	var err error
	number := func(digits string) uint64 {
		n, failed := strconv.ParseUint(digits, 10, 64)
		if failed != nil && err == nil {
			err = fmt.Errorf("parse snapshot %q: %w", text, failed)
		}
		return n
	}
	s.Min, s.Max = number(parts[0]), number(parts[1])
	if parts[2] != "" {
		for digits := range strings.SplitSeq(parts[2], ",") {
			s.Running = append(s.Running, number(digits))
		}
	}
	slices.Sort(s.Running)
	return s, err
}

// Sees reports whether what transaction xid did could be seen. The log gives
// the lower half of the number only; the whole one is the nearest to Max.
func (s *Snapshot) Sees(xid uint32) bool {
	full := s.Max + uint64(int64(int32(xid-uint32(s.Max))))
	if full < s.Min {
		return true
	}
	if full >= s.Max {
		return false
	}
	_, running := slices.BinarySearch(s.Running, full)
	return !running
}
