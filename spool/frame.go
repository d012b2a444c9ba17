package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is a header of 32 bytes and a payload:
//
//	 0  magic "PGWs"
//	 4  kind, and three zero bytes
//	 8  length of the payload
//	16  value: what the kind says
//	24  CRC-32C of the payload
//	28  CRC-32C of the 28 bytes before
//
// Numbers are little-endian.
const (
	headerSize = 32
	magic      = "PGWs"
)

// kind says what a frame is.
type kind byte

const (
	kindSegment  kind = 'H' // first frame of a segment; value: its index
	kindEntries  kind = 'E' // entries; value: the size of the chain behind them
	kindPosition kind = 'P' // no payload; value: the position that may be acknowledged
)

// header is the head of a frame.
type header struct {
	kind   kind
	length int64
	value  uint64
	sum    uint32
}

// maxPayload bounds what a header may claim, so that no damaged length asks for
// all memory.
const maxPayload = 1 << 40

// errHeader is what parseHeader says of bytes that are no header.
var errHeader = errors.New("not the header of a frame")

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// seal makes a frame of b, which has headerSize free bytes in front of the
// payload.
func seal(b []byte, k kind, value uint64) []byte {
	payload := b[headerSize:]
	copy(b, magic)
	b[4], b[5], b[6], b[7] = byte(k), 0, 0, 0
	binary.LittleEndian.PutUint64(b[8:], uint64(len(payload)))
	binary.LittleEndian.PutUint64(b[16:], value)
	binary.LittleEndian.PutUint32(b[24:], checksum(payload))
	binary.LittleEndian.PutUint32(b[28:], checksum(b[:28]))
	return b
}

// parseHeader reads a header; b has at least headerSize bytes.
func parseHeader(b []byte) (header, error) {
	if string(b[:4]) != magic || binary.LittleEndian.Uint32(b[28:]) != checksum(b[:28]) {
		return header{}, errHeader
	}
	h := header{
		kind:  kind(b[4]),
		value: binary.LittleEndian.Uint64(b[16:]),
		sum:   binary.LittleEndian.Uint32(b[24:]),
	}
	length := binary.LittleEndian.Uint64(b[8:])
	if length > maxPayload {
		return header{}, fmt.Errorf("a payload of %d bytes", length)
	}
	h.length = int64(length)
	return h, nil
}

// errIncomplete is a frame that ends behind the end of the file, or whose bytes
// are not those of its checksum.
var errIncomplete = errors.New("incomplete frame")

// readFrame reads the frame at offset of a file of size bytes, its payload into
// buffer, and returns where the next one begins.
func readFrame(r io.ReaderAt, size, offset int64, buffer []byte) (h header, payload []byte, next int64, err error) {
	if size-offset < headerSize {
		return h, nil, 0, errIncomplete
	}
	var head [headerSize]byte
	if _, err := r.ReadAt(head[:], offset); err != nil {
		return h, nil, 0, err
	}
	if h, err = parseHeader(head[:]); err != nil {
		return h, nil, 0, err
	}
	if h.length > size-offset-headerSize {
		return h, nil, 0, errIncomplete
	}
	if int64(cap(buffer)) < h.length {
		buffer = make([]byte, h.length)
	}
	payload = buffer[:h.length]
	if _, err := r.ReadAt(payload, offset+headerSize); err != nil && (err != io.EOF || h.length > 0) {
		return h, nil, 0, err
	}
	if checksum(payload) != h.sum {
		return h, nil, 0, fmt.Errorf("%w: wrong checksum", errIncomplete)
	}
	return h, payload, offset + headerSize + h.length, nil
}

// frameBehind reports whether the header of a frame lies anywhere in
// [from, size): then what is damaged in front of it is not the end of the file.
func frameBehind(r io.ReaderAt, from, size int64) (bool, error) {
	const window = 1 << 20
	block := make([]byte, window+headerSize)
	for ; from < size; from += window {
		n, err := r.ReadAt(block[:min(int64(len(block)), size-from)], from)
		if err != nil && err != io.EOF {
			return false, err
		}
		for i := 0; i+headerSize <= n; i++ {
			if block[i] != magic[0] || string(block[i:i+4]) != magic {
				continue
			}
			if _, err := parseHeader(block[i:n]); err == nil {
				return true, nil
			}
		}
	}
	return false, nil
}
