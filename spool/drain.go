package spool

import (
	"errors"
	"fmt"
	"os"

	"github.com/pgwitness/pgwitness/audit"
)

// rewind puts the cursor in front of the first entry. The caller holds mu, or
// nobody else knows of the spool yet.
func (s *Spool) rewind() {
	s.cursor = cursor{index: s.segments[0].index, head: s.segments[0].begin}
}

// Seek puts the cursor behind stored, the head of the chain in ClickHouse:
// what is stored there is not given out again. stored must be a head that the
// spool knows, or its beginning; anything else is an audit.ErrNeedsHuman.
func (s *Spool) Seek(stored audit.Head) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil
	}
	first, last := s.segments[0].begin, s.segments[len(s.segments)-1].end
	switch {
	case stored.Size < first.Size:
		return misfit("entries %d to %d are neither stored nor spooled", stored.Size, first.Size-1)
	case stored.Size > last.Size:
		return misfit("%d entries are stored, and the spool ends at %d: somebody else has extended the chain", stored.Size, last.Size)
	}
	i := 0
	for s.segments[i].end.Size < stored.Size {
		i++
	}
	c := cursor{index: s.segments[i].index, head: s.segments[i].begin}
	for c.head.Size < stored.Size {
		before := c
		entries, _, err := s.frame(&c, s.segments[i].size)
		if err != nil {
			return err
		}
		if c.head.Size >= stored.Size && len(entries) > 0 {
			known := entries[stored.Size-1-before.head.Size].Hash
			if known != stored.Hash {
				return misfit("entry %d is stored with hash %s, and spooled with %s", stored.Size-1, stored.Hash, known)
			}
			if c.head.Size > stored.Size {
				c = cursor{index: before.index, offset: before.offset, head: before.head}
				break // the frame is given out from within
			}
		}
	}
	if c.head.Size == stored.Size && c.head.Hash != stored.Hash {
		return misfit("the chain is stored up to hash %s at %d, and the spool begins with %s", stored.Hash, stored.Size, c.head.Hash)
	}
	s.cursor, s.stored = c, stored
	s.cursor.skip = stored.Size
	return nil
}

func misfit(format string, args ...any) error {
	return audit.WithHint(fmt.Errorf("spool and trail do not fit together: %s: %w", fmt.Sprintf(format, args...), audit.ErrNeedsHuman),
		"keep the spool folder, run pgwitness verify --full, and read docs/spool.md before anything is removed")
}

// Next lends the entries behind those it gave out before, or behind Seek, frame
// by frame to use: of at least one frame, and of further ones up to about
// maxRows entries and maxBytes bytes, as long as together holds for the
// timestamps of neighbours. It returns their number, 0 when everything was given
// out. After an error it must be told by Seek where to go on.
func (s *Spool) Next(maxRows, maxBytes int, together func(a, b int64) bool, use func([]audit.Entry) error) (rows int, err error) {
	bytes, last := 0, int64(0)
	for rows == 0 || rows < maxRows && bytes < maxBytes {
		s.mu.Lock()
		c, size := s.cursor, s.sizeOf(s.cursor.index)
		if c.offset >= size { // behind the last frame: the next segment, if there is one
			moved := s.advance()
			s.mu.Unlock()
			if !moved {
				return rows, nil
			}
			continue
		}
		s.mu.Unlock()
		entries, read, err := s.frame(&c, size)
		if err != nil {
			return rows, err
		}
		for len(entries) > 0 && entries[0].Sequence < c.skip {
			entries = entries[1:]
		}
		if n := len(entries); n > 0 {
			if rows > 0 && !together(last, entries[0].Timestamp) {
				return rows, nil
			}
			if err := use(entries); err != nil {
				return rows, err
			}
			rows, bytes, last = rows+n, bytes+read, entries[n-1].Timestamp
		}
		s.mu.Lock()
		s.cursor = c
		s.mu.Unlock()
	}
	return rows, nil
}

// sizeOf is the size of a segment, 0 when there is none. The caller holds mu.
func (s *Spool) sizeOf(index uint64) int64 {
	for _, seg := range s.segments {
		if seg.index == index {
			return seg.size
		}
	}
	return 0
}

// advance moves the cursor to the next segment. The caller holds mu.
func (s *Spool) advance() bool {
	for _, seg := range s.segments {
		if seg.index == s.cursor.index+1 {
			s.cursor.index, s.cursor.offset = seg.index, 0
			return true
		}
	}
	return false
}

// frame reads the frame at the cursor and moves it behind. Entries are none for
// frames of other kinds. What was checked when it was written and when the
// spool was opened is checked once more: disks forget.
func (s *Spool) frame(c *cursor, size int64) (entries []audit.Entry, bytes int, err error) {
	f, err := os.Open(s.path(c.index))
	if err != nil {
		return nil, 0, fmt.Errorf("read spool: %w", err)
	}
	defer f.Close()
	h, payload, next, err := readFrame(f, size, c.offset, nil)
	if err != nil {
		return nil, 0, damaged(segmentName(c.index), c.offset, err)
	}
	if h.kind == kindEntries {
		head, err := s.decode(c.head, payload, func(e *audit.Entry) { entries = append(entries, *e) })
		if err != nil {
			return nil, 0, damaged(segmentName(c.index), c.offset, err)
		}
		c.head = head
	}
	c.offset = next
	return entries, len(payload), nil
}

// Drop deletes the segments whose entries are all stored; the newest stays
// until Clear. A crash in between leaves segments that Seek passes over.
func (s *Spool) Drop(stored audit.Head) error {
	s.mu.Lock()
	s.stored = stored
	n := 0
	for n < len(s.segments)-1 && s.segments[n].end.Size <= stored.Size && s.segments[n].index < s.cursor.index {
		n++
	}
	s.mu.Unlock()
	for range n {
		if err := s.removeFirst(); err != nil {
			return err
		}
	}
	return nil
}

// removeFirst deletes the oldest segment. Segments go from the oldest to the
// newest, so that what a crash leaves has no hole.
func (s *Spool) removeFirst() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(os.Remove(s.path(s.segments[0].index)), syncDir(s.dir)); err != nil {
		return fmt.Errorf("remove spool segment: %w", err)
	}
	s.segments = s.segments[1:]
	return nil
}

// Clear empties the spool: every entry is stored, and so is the position that
// was saved last. It refuses when something has been added since.
func (s *Spool) Clear(stored audit.Head, saved audit.LSN) (cleared bool, err error) {
	if end, ok := s.End(); ok && end != stored || s.Saved() > saved {
		return false, nil
	}
	if s.active != nil {
		if err := s.active.Close(); err != nil {
			return false, fmt.Errorf("close spool segment: %w", err)
		}
		s.active = nil
	}
	for {
		s.mu.Lock()
		n := len(s.segments)
		s.mu.Unlock()
		if n == 0 {
			break
		}
		if err := s.removeFirst(); err != nil {
			return false, err
		}
	}
	s.dirty = false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved, s.cursor, s.stored = 0, cursor{}, audit.Head{}
	return true, nil
}
