package audit

import "encoding/hex"

// Text is a nullable string: nil is SQL NULL, an empty non-nil Text is the
// empty string. The two hash differently.
type Text []byte

// String returns the text; NULL reads as "".
func (t Text) String() string { return string(t) }

// T makes a Text of s that is not NULL.
func T(s string) Text { return append(make(Text, 0, len(s)), s...) }

// Hash is a SHA-256.
type Hash [32]byte

// String renders the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Salt is the 16 bytes that make the hash of an entry unguessable to someone
// who holds the proof of its neighbour.
type Salt [16]byte

// UUID is a UUID in network byte order.
type UUID [16]byte

// String renders the UUID in its canonical 36-character form.
func (u UUID) String() string { return string(u.Append(nil)) }

// Append appends the canonical form of u to dst.
func (u UUID) Append(dst []byte) []byte {
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], u[10:16])
	return append(dst, b[:]...)
}

// Entry is one row of the trail (table audit_logs). Everything from ID to Salt
// is hashed; see AppendPreimage.
type Entry struct {
	ID        UUID
	Stream    string
	Sequence  uint64 // gapless from 0 within the stream
	Timestamp int64  // commit time, microseconds since 1970, UTC

	// Who.
	ActorID, ActorEmail, ActorRole Text
	ActorType                      Text // human | api | system | cron | unknown

	// What.
	ResourceType, ResourceID Text
	Action                   Text
	OldValues, NewValues     Text     // JSON objects: column → text form, see docs/entry.md
	Changed                  []string // sorted column names

	// Where.
	Source, IPAddress, UserAgent        Text
	GeoCountry, GeoCity, GeoLat, GeoLon Text

	// Why.
	ReasonCode, ReasonNote Text

	// How we know.
	Attribution                  Text // JSON object: field → the source it was taken from
	RequestID, TraceID, APIKeyID Text
	DBUser, ApplicationName      Text

	// Position.
	SchemaName, TableName, Operation Text
	XID                              uint32
	CommitLSN                        LSN
	Ordinal                          uint32

	// Seal.
	Salt     Salt
	PrevHash Hash
	Hash     Hash
}

// Position is the identity of the change that the entry records.
func (e *Entry) Position() Position { return Position{e.CommitLSN, e.Ordinal} }

// Head is the end of a stored chain: what the next entry is linked to.
type Head struct {
	Size      uint64   // number of entries = sequence of the next one
	Hash      Hash     // entry_hash of the last entry; of the genesis when Size is 0
	Position  Position // of the last entry; zero when Size is 0
	Timestamp int64    // of the last entry, microseconds since 1970
}

// Covers reports whether the change at p is already part of the chain, so that
// a redelivery of it must be dropped.
func (h Head) Covers(p Position) bool { return h.Size > 0 && !p.After(h.Position) }
