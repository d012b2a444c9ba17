package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pgwitness/pgwitness/audit"
)

// Inspect says how full the spool of stream is, from its files alone, while a
// sidecar may be at work in it. It reads the headers of frames and checks no
// content.
func Inspect(stateDir, stream string) (State, error) {
	s := &Spool{dir: Folder(stateDir, stream), stream: stream}
	var state State
	var err error
	// Segments that are drained meanwhile vanish under our eyes, which looks like
	// a missing file: only one that stays missing is.
	for range 10 {
		if state, err = s.inspect(); err == nil {
			return state, nil
		}
	}
	return state, fmt.Errorf("inspect spool of stream %s: %w", stream, err)
}

// inspect makes one attempt.
func (s *Spool) inspect() (State, error) {
	var state State
	indexes, err := list(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	var begin, end uint64
	for _, index := range indexes {
		first, last, err := s.skim(index, &state)
		if err != nil {
			return state, err
		}
		if !state.Active {
			begin = first
		}
		state.Active, end = true, last
	}
	state.Entries = end - begin
	return state, nil
}

// skim adds one segment to state, and returns the sizes of the chain in front
// of it and behind it.
func (s *Spool) skim(index uint64, state *State) (first, last uint64, err error) {
	f, err := os.Open(s.path(index))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	state.Bytes += info.Size()
	var raw [headerSize]byte
	for offset := int64(0); offset+headerSize <= info.Size(); {
		if _, err := f.ReadAt(raw[:], offset); err != nil {
			return first, last, err
		}
		h, err := parseHeader(raw[:])
		if err != nil || offset+headerSize+h.length > info.Size() {
			return first, last, nil // being written, or for Open to judge
		}
		switch h.kind {
		case kindSegment:
			_, payload, _, err := readFrame(f, info.Size(), offset, nil)
			if err != nil {
				return first, last, damaged(segmentName(index), offset, err)
			}
			begin, saved, err := s.parsePreamble(payload)
			if err != nil {
				return first, last, damaged(segmentName(index), offset, err)
			}
			first, last, state.Saved = begin.Size, begin.Size, max(state.Saved, saved)
		case kindPosition:
			state.Saved = max(state.Saved, audit.LSN(h.value))
		case kindEntries:
			if state.Oldest == 0 {
				state.Oldest = s.firstTimestamp(f, info.Size(), offset)
			}
			last = h.value
		}
		offset += headerSize + h.length
	}
	return first, last, nil
}

// firstTimestamp is the commit time of the first entry of a frame, 0 when it
// cannot be read.
func (s *Spool) firstTimestamp(f *os.File, size, offset int64) (timestamp int64) {
	_, payload, _, err := readFrame(f, size, offset, nil)
	if err != nil || len(payload) < 12 {
		return 0
	}
	length := int(min(uint64(len(payload)-12), binary.LittleEndian.Uint64(payload[4:])))
	if e, err := parsePreimage(payload[12 : 12+length]); err == nil {
		timestamp = e.Timestamp
	}
	return timestamp
}
