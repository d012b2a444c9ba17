package baseline

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// State is how far the baseline of a table is. It is kept beside the trail, and
// is what status shows.
type State struct {
	Table   string `json:"table"`   // schema.table
	Version string `json:"version"` // of its membership in the publication
	// Rewritten and Shape are those of the table when its baseline began.
	Rewritten string    `json:"rewritten,omitempty"`
	Shape     string    `json:"shape,omitempty"`
	Phase     Phase     `json:"phase"`          // see there
	Why       string    `json:"why,omitempty"`  // it is blocked, was skipped, or waits
	Rows      uint64    `json:"rows"`           // entries made
	Estimate  uint64    `json:"estimate"`       // of the rows of the table, by its statistics
	Rate      float64   `json:"rate,omitempty"` // rows per second, lately
	Began     time.Time `json:"began,omitzero"`
	Updated   time.Time `json:"updated,omitzero"`
	Limit     int       `json:"limit,omitempty"` // keyless_rows when it was skipped

	Key    []string `json:"key,omitempty"`    // of the last row that is known to be stored
	Chunks []step   `json:"chunks,omitempty"` // behind it, oldest first
}

// Phase is how far a table is.
type Phase string

// The phases. A table without a State has not begun.
const (
	Waiting   Phase = "waiting" // for something else, before it begins
	Running   Phase = "running"
	Completed Phase = "completed"
	Skipped   Phase = "skipped" // for good, and an entry says so
	Blocked   Phase = "blocked" // it cannot be read for now
	Asked     Phase = "asked"   // the operator wants it to be done anew
)

// step is a chunk that may be stored. It is saved before the high mark is
// written, so that after a crash the position of the newest stored entry tells
// which chunks are.
type step struct {
	Key     []string  `json:"key"`            // of its last row
	After   audit.LSN `json:"after"`          // a position between the chunk before and this one
	At      audit.LSN `json:"at,omitempty"`   // of its entries, once known
	Size    uint64    `json:"size"`           // entries stored by then: its own come behind
	Entries int       `json:"rows,omitempty"` // once known
}

// ReadState reads what text holds.
func ReadState(text string) (State, error) {
	var s State
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("read state of a baseline: %w", err)
	}
	return s, nil
}

// Anew is the state of a table whose baseline is asked for again.
func Anew(text string) (string, error) {
	s, err := ReadState(text)
	s = State{Table: s.Table, Phase: Asked, Why: "asked for behind a gap"}
	return s.text(), err
}

func (s *State) text() string {
	text, err := json.Marshal(s)
	if err != nil {
		return "{}" // impossible: there is nothing in it that JSON does not have
	}
	return string(text)
}

// pending reports whether t still needs its baseline, or another one.
func (s *State) pending(t *table, limit int) bool {
	switch s.Phase {
	case Completed:
		return s.outdated(t)
	case Skipped:
		return s.outdated(t) || limit > s.Limit
	}
	return true
}

// recover drops the chunks that were not stored before a crash; newest is the
// position of the newest stored entry of the baseline.
func (s *State) recover(newest audit.LSN) {
	for _, c := range s.Chunks {
		if newest > c.After {
			s.Key = c.Key
		}
	}
	s.Chunks = nil
}

// stored takes the chunks that are stored up to position from the list. One
// without entries is stored as soon as those before it are.
func (s *State) stored(position audit.LSN) {
	for len(s.Chunks) > 0 {
		c := s.Chunks[0]
		if c.At == 0 || c.Entries > 0 && c.At > position {
			return
		}
		s.Key, s.Chunks = c.Key, s.Chunks[1:]
	}
}

// last is the key behind which the next chunk begins.
func (s *State) last() []string {
	if n := len(s.Chunks); n > 0 {
		return s.Chunks[n-1].Key
	}
	return s.Key
}
