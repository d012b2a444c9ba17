package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// segmentTag is the format and version that every segment begins with.
const segmentTag = "pgwitness/spool/v1"

// suffix ends the names of segments; the number in front has twelve digits.
const suffix = ".segment"

func segmentName(index uint64) string { return fmt.Sprintf("%012d%s", index, suffix) }

func (s *Spool) path(index uint64) string { return filepath.Join(s.dir, segmentName(index)) }

// preamble is the payload of the first frame of a segment: what the first entry
// is linked to, and the position saved in the segments before it.
func (s *Spool) preamble(begin audit.Head, saved audit.LSN) []byte {
	b := make([]byte, headerSize, 256)
	b = audit.AppendNetstring(b, segmentTag)
	b = audit.AppendNetstring(b, s.stream)
	b = binary.LittleEndian.AppendUint64(b, begin.Size)
	b = append(b, begin.Hash[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(begin.Position.CommitLSN))
	b = binary.LittleEndian.AppendUint32(b, begin.Position.Ordinal)
	b = binary.LittleEndian.AppendUint64(b, uint64(begin.Timestamp))
	return binary.LittleEndian.AppendUint64(b, uint64(saved))
}

func (s *Spool) parsePreamble(b []byte) (begin audit.Head, saved audit.LSN, err error) {
	p := parser{rest: b}
	tag, stream := p.text(), p.text()
	if p.err != nil || string(tag) != segmentTag || len(p.rest) != 8+32+8+4+8+8 {
		return begin, 0, errors.New("not a segment of this version")
	}
	if string(stream) != s.stream {
		return begin, 0, fmt.Errorf("a segment of stream %q, want %q", stream, s.stream)
	}
	r := p.rest
	begin = audit.Head{
		Size: binary.LittleEndian.Uint64(r), Hash: audit.Hash(r[8:40]),
		Position:  audit.Position{CommitLSN: audit.LSN(binary.LittleEndian.Uint64(r[40:])), Ordinal: binary.LittleEndian.Uint32(r[48:])},
		Timestamp: int64(binary.LittleEndian.Uint64(r[52:])),
	}
	return begin, audit.LSN(binary.LittleEndian.Uint64(r[60:])), nil
}

// damaged is what is found where a frame should be.
func damaged(segment string, offset int64, err error) error {
	return audit.WithHint(fmt.Errorf("spool segment %s at offset %d: %w: %w", segment, offset, err, audit.ErrNeedsHuman),
		"keep the folder, and restore the file from a copy of the disk if there is one; docs/spool.md says what else can be done")
}

// list returns the indexes of the segments in dir, in order; a hole among them
// is a segment that somebody removed.
func list(dir string) ([]uint64, error) {
	files, err := os.ReadDir(dir) // by name, which is by index
	if err != nil {
		return nil, err
	}
	var indexes []uint64
	for _, f := range files {
		digits, ok := strings.CutSuffix(f.Name(), suffix)
		if !ok {
			continue
		}
		index, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || segmentName(index) != f.Name() {
			return nil, fmt.Errorf("%s is not the name of a segment: %w", f.Name(), audit.ErrNeedsHuman)
		}
		if n := len(indexes); n > 0 && indexes[n-1]+1 != index {
			return nil, damaged(segmentName(indexes[n-1]+1), 0, errors.New("the file is missing"))
		}
		indexes = append(indexes, index)
	}
	return indexes, nil
}

// load reads all segments. Only behind the last frame of the last of them may
// something be cut off.
func (s *Spool) load() error {
	indexes, err := list(s.dir)
	if err != nil {
		return err
	}
	for i, index := range indexes {
		seg, saved, cut, err := s.scan(index, i == len(indexes)-1)
		if err != nil {
			return err
		}
		if cut {
			if err := s.cutOff(index, seg.size); err != nil {
				return err
			}
			if seg.size == 0 {
				break // its making was interrupted: nothing was ever in it
			}
		}
		if i > 0 && seg.begin != s.segments[i-1].end {
			return damaged(segmentName(index), 0, fmt.Errorf("it begins behind entry %d, the segment before it ends behind entry %d, or with another hash",
				int64(seg.begin.Size)-1, int64(s.segments[i-1].end.Size)-1))
		}
		s.segments = append(s.segments, seg)
		s.saved = max(s.saved, saved)
	}
	if len(s.segments) > 0 {
		s.rewind()
	}
	return nil
}

// cutOff shortens a segment to size; to nothing, it is removed.
func (s *Spool) cutOff(index uint64, size int64) error {
	if size == 0 {
		if err := os.Remove(s.path(index)); err != nil {
			return fmt.Errorf("remove incomplete segment: %w", err)
		}
		return syncDir(s.dir)
	}
	f, err := os.OpenFile(s.path(index), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cut off incomplete frame: %w", err)
	}
	if err := errors.Join(f.Truncate(size), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cut off incomplete frame: %w", err)
	}
	return nil
}

// scan reads one segment from end to end. When it is the last one and ends with
// an incomplete frame, cut is true and size is without it.
func (s *Spool) scan(index uint64, last bool) (seg segment, saved audit.LSN, cut bool, err error) {
	seg.index = index
	f, err := os.Open(s.path(index))
	if err != nil {
		return seg, 0, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return seg, 0, false, err
	}
	size := info.Size()
	var buffer []byte
	for seg.size < size || size == 0 {
		h, payload, next, err := readFrame(f, size, seg.size, buffer)
		if err != nil {
			torn, err := s.torn(f, size, seg.size, h, last, err)
			if err != nil {
				return seg, 0, false, damaged(segmentName(index), seg.size, err)
			}
			return seg, saved, torn, nil
		}
		if err := s.account(&seg, &saved, h, payload); err != nil {
			return seg, 0, false, damaged(segmentName(index), seg.size, err)
		}
		buffer = payload[:0]
		seg.size = next
	}
	return seg, saved, false, nil
}

// torn decides about a frame at offset that cannot be read: true when it is one
// that a crash left incomplete, the error when it is damage. A frame was synced
// before anything was written behind it; so whatever has a frame behind it was
// complete once. h is its header, if that can be read: then what lies behind
// begins where it says, whatever the entries in it may look like.
func (s *Spool) torn(r io.ReaderAt, size, offset int64, h header, last bool, cause error) (bool, error) {
	if !last {
		return false, cause
	}
	if !errors.Is(cause, errIncomplete) && !errors.Is(cause, errHeader) {
		return false, cause // the disk cannot be read, or the header is valid and absurd
	}
	from := offset + 1
	if h.kind != 0 {
		from = offset + headerSize + h.length
	}
	behind, err := frameBehind(r, from, size)
	if err != nil || behind {
		return false, errors.Join(cause, err)
	}
	return true, nil
}

// account adds a frame to what is known of its segment.
func (s *Spool) account(seg *segment, saved *audit.LSN, h header, payload []byte) (err error) {
	switch {
	case (seg.size == 0) != (h.kind == kindSegment):
		return fmt.Errorf("a frame of kind %q does not belong here", h.kind)
	case h.kind == kindSegment:
		if h.value != seg.index {
			return fmt.Errorf("this is segment %d", h.value)
		}
		seg.begin, *saved, err = s.parsePreamble(payload)
		seg.end = seg.begin
		return err
	case h.kind == kindPosition:
		*saved = max(*saved, audit.LSN(h.value))
		return nil
	case h.kind == kindEntries:
		seg.end, err = s.decode(seg.end, payload, func(e *audit.Entry) {
			if seg.oldest == 0 {
				seg.oldest = e.Timestamp
			}
		})
		if err == nil && seg.end.Size != h.value {
			return fmt.Errorf("the entries end at %d, their header says %d", seg.end.Size, h.value)
		}
		return err
	}
	return fmt.Errorf("a frame of unknown kind %q", h.kind)
}

// write lets emit put frames behind the others, and forces each to disk before
// the next one, in a new segment when there is none or the newest is full. begin
// is the end of the chain. They count all together, once the last one is on
// disk. Whatever fails, what lies behind the frames before is cut off, now or at
// the next write, before anything else is written.
//
// A crash before a sync leaves an incomplete frame or none, which Open cuts
// off; one behind it leaves the frame.
func (s *Spool) write(begin audit.Head, emit func(put func(frame []byte) error) error, done func(*segment)) error {
	if s.dirty {
		if err := s.clean(); err != nil {
			return err
		}
	}
	size := int64(0)
	err := emit(func(frame []byte) (err error) {
		if !s.dirty {
			if size, err = s.activate(begin, int64(len(frame))); err != nil {
				return err
			}
			s.dirty = true
		}
		if _, err := s.active.WriteAt(frame, size); err != nil {
			return fmt.Errorf("write to spool: %w", err)
		}
		if err := s.active.Sync(); err != nil {
			return fmt.Errorf("sync spool: %w", err)
		}
		size += int64(len(frame))
		return nil
	})
	if err != nil {
		if s.dirty {
			err = errors.Join(err, s.clean())
		}
		return err
	}
	s.dirty = false
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := &s.segments[len(s.segments)-1]
	seg.size = size
	done(seg)
	return nil
}

// activate opens the segment that so many bytes are written to, and returns its
// size: the newest one, or a new one where they do not fit in.
func (s *Spool) activate(begin audit.Head, bytes int64) (size int64, err error) {
	s.mu.Lock()
	n, saved := len(s.segments), s.saved
	var newest segment
	if n > 0 {
		newest = s.segments[n-1]
	}
	s.mu.Unlock()
	if n == 0 || newest.end.Size > newest.begin.Size && newest.size+bytes > s.cfg.SegmentBytes {
		if newest, err = s.begin(newest.index+1, begin, saved); err != nil {
			return 0, fmt.Errorf("begin spool segment: %w", err)
		}
	}
	if s.active == nil {
		f, err := os.OpenFile(s.path(newest.index), os.O_RDWR, 0)
		if err != nil {
			return 0, fmt.Errorf("open spool segment: %w", err)
		}
		s.active = f
	}
	return newest.size, nil
}

// clean cuts off what a failed write left behind the newest segment's frames.
func (s *Spool) clean() error {
	s.mu.Lock()
	seg := s.segments[len(s.segments)-1]
	s.mu.Unlock()
	if s.active != nil {
		_ = s.active.Close() // after a failed sync its pages cannot be trusted; nothing in it counts
		s.active = nil
	}
	if err := s.cutOff(seg.index, seg.size); err != nil {
		return err
	}
	s.dirty = false
	return nil
}

// begin makes a new segment. It is complete, and its name is on disk, before it
// is counted. A crash in between leaves a file that Open removes, or an empty
// segment.
func (s *Spool) begin(index uint64, begin audit.Head, saved audit.LSN) (segment, error) {
	if s.active != nil {
		if err := s.active.Close(); err != nil {
			return segment{}, err
		}
		s.active = nil
	}
	frame := seal(s.preamble(begin, saved), kindSegment, index)
	f, err := os.OpenFile(s.path(index), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return segment{}, err
	}
	_, err = f.Write(frame)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return segment{}, errors.Join(err, os.Remove(s.path(index)))
	}
	seg := segment{index: index, begin: begin, end: begin, size: int64(len(frame))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = append(s.segments, seg)
	if len(s.segments) == 1 {
		s.rewind()
	}
	return seg, nil
}

// syncDir forces the names in dir to disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
