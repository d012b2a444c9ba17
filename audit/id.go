package audit

import (
	"crypto/sha256"
	"strconv"
)

// IDTag is the first netstring of the bytes that the random part of an entry
// id is taken from.
const IDTag = "pgwitness/id/v1"

// EntryID is the UUIDv7 (RFC 9562 §5.7) of the change at p in stream: its time
// is the commit time (microseconds since 1970, cut to milliseconds), its
// random part the first 74 bits of SHA-256 over ns(tag) ns(stream)
// ns(dec(commit_lsn)) ns(dec(ordinal)). A replay makes the same id.
func EntryID(stream string, timestamp int64, p Position) UUID {
	var ids EntryIDs
	return ids.ID(stream, timestamp, p)
}

// EntryIDs makes the ids of many entries: what those of a transaction have in
// common is laid out once. It belongs to one goroutine. The zero value is ready
// for use.
type EntryIDs struct {
	stream    string
	commitLSN LSN
	common    []byte // up to the ordinal; empty before the first id
	preimage  []byte
}

// ID is EntryID.
func (m *EntryIDs) ID(stream string, timestamp int64, p Position) UUID {
	m.preimage = m.AppendPreimage(m.preimage[:0], stream, p)
	return HashedID(timestamp, sha256.Sum256(m.preimage))
}

// AppendPreimage appends the bytes that the hash in an id is taken over.
func (m *EntryIDs) AppendPreimage(dst []byte, stream string, p Position) []byte {
	if len(m.common) == 0 || p.CommitLSN != m.commitLSN || stream != m.stream {
		m.stream, m.commitLSN = stream, p.CommitLSN
		m.common = AppendNetstring(m.common[:0], IDTag)
		m.common = AppendNetstring(m.common, stream)
		m.common = appendUint(m.common, uint64(p.CommitLSN))
	}
	return appendUint(append(dst, m.common...), uint64(p.Ordinal))
}

// HashedID is the id that has a time and a hash of EntryIDs.AppendPreimage.
func HashedID(timestamp int64, sum Hash) UUID {
	ms := uint64(timestamp / 1000)
	var u UUID
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	copy(u[6:], sum[:10])
	u[6] = u[6]&0x0f | 0x70 // version 7
	u[8] = u[8]&0x3f | 0x80 // RFC 9562 variant
	return u
}

// ParseUUID reads the canonical form; ok is false for anything else.
func ParseUUID(s string) (u UUID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, false
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	for i := range 16 {
		b, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			return UUID{}, false
		}
		u[i] = byte(b)
	}
	return u, true
}
