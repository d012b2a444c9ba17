// Package spool keeps sealed entries on the local disk while ClickHouse is
// away, so that the slot of the audited database can be acknowledged and its
// write-ahead log does not pile up. It is a queue of append-only segment files
// in <state_dir>/spool/<stream>; docs/spool.md lays down their bytes.
//
// Every frame of a segment is forced to disk before the next one is written.
// So an incomplete frame can only be the last one, nobody was told that it is
// durable, and Open cuts it off. Any other damage, a missing segment, or an
// entry that is not linked to the one before it, is an audit.ErrNeedsHuman
// with segment and offset.
//
// The package never decides when entries are spooled, never deletes one that
// it was not told to be stored elsewhere, and never guesses what a damaged
// frame may have said.
package spool

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/pgwitness/pgwitness/audit"
)

// ErrFull is wrapped when the spool has reached its limit. Nothing was
// written; there is room again once entries were dropped.
var ErrFull = errors.New("the spool is full")

// ErrInUse is wrapped when another process has the spool open.
var ErrInUse = errors.New("the spool is in use")

// Link computes the hash of an entry from that of the entry before it and the
// SHA-256 of its own preimage; see chain.Link.
type Link func(prev, content audit.Hash) audit.Hash

// Spool is the spool of one stream. Append and Save belong to one goroutine,
// Seek, Next and Drop to another, Clear to both at once; State may be called
// by anybody.
type Spool struct {
	dir    string
	stream string
	cfg    Config
	link   Link

	lock *os.File // held from Open to Close

	// Owned by Append, Save and Clear.
	active *os.File // the newest segment, nil when none is open for writing
	dirty  bool     // a write failed: what lies behind the size of the newest segment must be cut off
	buffer []byte

	mu       sync.Mutex // guards what follows
	segments []segment  // oldest first; none when the spool is empty
	saved    audit.LSN  // the highest position saved here
	cursor   cursor     // of Next
	stored   audit.Head // as Seek or Drop heard last
}

// segment is a file as far as it is on disk for sure.
type segment struct {
	index  uint64
	begin  audit.Head // what its first entry is linked to
	end    audit.Head // behind its last entry
	oldest int64      // timestamp of its first entry, 0 when there is none
	size   int64
}

// cursor is up to where the spool was read.
type cursor struct {
	index  uint64     // of the segment
	offset int64      // of the next frame in it
	head   audit.Head // behind the last entry of the frames before it
	skip   uint64     // entries below are stored already and not given out
}

// New returns the spool of stream in dir. It touches nothing before Open.
func New(dir, stream string, cfg Config, link Link) *Spool {
	return &Spool{dir: Folder(dir, stream), stream: stream, cfg: cfg, link: link}
}

// Folder is where the segments of stream lie.
func Folder(stateDir, stream string) string { return filepath.Join(stateDir, "spool", stream) }

// Open takes hold of the folder, making it if needed, and reads every segment
// from its first byte to its last. A frame that a crash left incomplete is cut
// off; any other damage is an audit.ErrNeedsHuman, and nothing is touched then.
func (s *Spool) Open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return audit.WithHint(fmt.Errorf("make spool folder: %w", err), "let state_dir in the configuration name a folder that can be written")
	}
	for _, parent := range []string{filepath.Dir(s.dir), filepath.Dir(filepath.Dir(s.dir))} {
		if err := syncDir(parent); err != nil {
			return fmt.Errorf("make spool folder: %w", err)
		}
	}
	lock, err := acquire(filepath.Join(s.dir, "lock"))
	if err != nil {
		return err
	}
	s.lock = lock
	if err := s.load(); err != nil {
		return errors.Join(fmt.Errorf("open spool of stream %s: %w", s.stream, err), s.Close())
	}
	return nil
}

// Close lets go of the folder. What was appended stays.
func (s *Spool) Close() error {
	var errs []error
	if s.active != nil {
		errs = append(errs, s.active.Close())
		s.active = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close()) // the lock goes with it
		s.lock = nil
	}
	return errors.Join(errs...)
}

// Append writes entries, which are linked behind head. When it returns nil they
// are on disk for sure; after an error none of them is, and the same entries may
// be appended again. A crash in between may leave the first ones of them.
func (s *Spool) Append(head audit.Head, entries iter.Seq[*audit.Entry]) (audit.Head, error) {
	if end, ok := s.End(); ok && end != head {
		return head, fmt.Errorf("spool entries from %d: the spool ends at %d, or with another hash", head.Size, end.Size)
	}
	first, some := int64(0), false
	for e := range entries {
		first, some = e.Timestamp, true
		break
	}
	if !some {
		return head, errors.New("spool entries: there are none")
	}
	used, end := s.State().Bytes, head
	err := s.write(head, func(put func([]byte) error) (err error) {
		end, err = s.encode(head, entries, func(frame []byte) error {
			if used += int64(len(frame)); used > s.cfg.MaxBytes {
				return audit.WithHint(fmt.Errorf("spool entries from %d: with them it has more than %d bytes: %w", head.Size, s.cfg.MaxBytes, ErrFull),
					"bring ClickHouse back, or raise spool.max_bytes")
			}
			return put(frame)
		})
		return err
	}, func(seg *segment) {
		seg.end = end
		if seg.oldest == 0 {
			seg.oldest = first
		}
	})
	if err != nil {
		return head, err
	}
	return end, nil
}

// Save notes the position that is about to be acknowledged to the slot, behind
// all that was appended; head is the end of the chain, in case nothing was. It
// is on disk for sure when nil is returned.
func (s *Spool) Save(head audit.Head, lsn audit.LSN) error {
	s.buffer = append(s.buffer[:0], make([]byte, headerSize)...)
	frame := seal(s.buffer, kindPosition, uint64(lsn))
	one := func(put func([]byte) error) error { return put(frame) }
	if err := s.write(head, one, func(*segment) { s.saved = max(s.saved, lsn) }); err != nil {
		return fmt.Errorf("save position %s in the spool: %w", lsn, err)
	}
	return nil
}

// End is the end of the chain in the spool; ok is false when it is empty.
func (s *Spool) End() (head audit.Head, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return audit.Head{}, false
	}
	return s.segments[len(s.segments)-1].end, true
}

// Saved is the highest position that was saved here, 0 when none is.
func (s *Spool) Saved() audit.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved
}

// State says how full the spool is.
type State struct {
	Bytes   int64     `json:"bytes"`            // on disk
	Entries uint64    `json:"entries"`          // not known to be stored in ClickHouse
	Oldest  int64     `json:"oldest,omitempty"` // commit time of about the oldest of them, microseconds since 1970
	Saved   audit.LSN `json:"saved"`            // the highest position saved here
	Active  bool      `json:"active"`           // there are segments: entries go to the spool
}

// State is a snapshot.
func (s *Spool) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Saved: s.saved, Active: len(s.segments) > 0}
	for _, seg := range s.segments {
		state.Bytes += seg.size
	}
	if len(s.segments) == 0 {
		return state
	}
	first, last := s.segments[0], s.segments[len(s.segments)-1]
	from := first.begin
	state.Oldest = first.oldest
	if s.stored.Size > from.Size {
		from = s.stored
		state.Oldest = from.Timestamp
	}
	if last.end.Size <= from.Size {
		state.Oldest = 0
		return state
	}
	state.Entries = last.end.Size - from.Size
	return state
}
