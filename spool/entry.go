package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
)

// encode makes frames of entries and hands each to put, which must be done with
// it when it returns. A payload is the number of entries, and of each one the
// length of its preimage, the preimage, and its hash. What is linked to what
// needs no bytes: every entry follows the one before it. Each hash is computed
// anew, so that nothing is spooled that could not be read back.
func (s *Spool) encode(head audit.Head, entries iter.Seq[*audit.Entry], put func(frame []byte) error) (audit.Head, error) {
	const count = headerSize
	if cap(s.buffer) > keepBytes {
		s.buffer = nil
	}
	room := make([]byte, headerSize+4)
	b, n := append(s.buffer[:0], room...), uint32(0)
	pass := func() error {
		binary.LittleEndian.PutUint32(b[count:], n)
		err := put(seal(b, kindEntries, head.Size))
		s.buffer, b, n = b, append(b[:0], room...), 0
		return err
	}
	for e := range entries {
		at := len(b)
		b = append(b, make([]byte, 8)...)
		b = audit.AppendPreimage(b, e)
		preimage := b[at+8:]
		binary.LittleEndian.PutUint64(b[at:], uint64(len(preimage)))
		if e.Stream != s.stream || e.Sequence != head.Size || e.PrevHash != head.Hash ||
			s.link(head.Hash, sha256.Sum256(preimage)) != e.Hash {
			return head, fmt.Errorf("spool entry %d: it does not follow entry %d of stream %s", e.Sequence, int64(head.Size)-1, s.stream)
		}
		b = append(b, e.Hash[:]...)
		head = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
		if n++; len(b) >= frameBytes {
			if err := pass(); err != nil {
				return head, err
			}
		}
	}
	if n == 0 {
		return head, nil
	}
	return head, pass()
}

const (
	// frameBytes is the size at which a frame of entries ends: one is in memory
	// as a whole when it is written, and again, as entries, when it is read.
	frameBytes = 2 << 20
	// keepBytes is the size up to which a buffer is kept for the next frame.
	keepBytes = 2 * frameBytes
)

// decode reads the payload of entries behind head and returns the head behind
// them. The texts of the entries lie in payload.
func (s *Spool) decode(head audit.Head, payload []byte, use func(*audit.Entry)) (audit.Head, error) {
	if len(payload) < 4 {
		return head, errors.New("no number of entries")
	}
	n := binary.LittleEndian.Uint32(payload)
	payload = payload[4:]
	for range n {
		if len(payload) < 8 {
			return head, fmt.Errorf("entry %d: cut short", head.Size)
		}
		length := binary.LittleEndian.Uint64(payload)
		if payload = payload[8:]; length > uint64(len(payload)) || uint64(len(payload))-length < sha256.Size {
			return head, fmt.Errorf("entry %d: cut short", head.Size)
		}
		preimage := payload[:length:length]
		e, err := parsePreimage(preimage)
		if err != nil {
			return head, fmt.Errorf("entry %d: %w", head.Size, err)
		}
		e.PrevHash, e.Hash = head.Hash, audit.Hash(payload[length:length+sha256.Size])
		if e.Stream != s.stream || e.Sequence != head.Size {
			return head, fmt.Errorf("entry %d of stream %q stands where entry %d of %q belongs", e.Sequence, e.Stream, head.Size, s.stream)
		}
		if s.link(head.Hash, sha256.Sum256(preimage)) != e.Hash {
			return head, fmt.Errorf("entry %d: its hash is not that of its content and of the entry before it", e.Sequence)
		}
		head = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
		use(&e)
		payload = payload[length+sha256.Size:]
	}
	if len(payload) > 0 {
		return head, fmt.Errorf("%d bytes behind the last entry", len(payload))
	}
	return head, nil
}

// parsePreimage is the inverse of audit.AppendPreimage: whatever it accepts is
// written by AppendPreimage in exactly the same bytes. The texts of the entry
// lie in b.
func parsePreimage(b []byte) (audit.Entry, error) {
	p := parser{rest: b}
	var e audit.Entry
	if tag := p.text(); string(tag) != audit.EntryTag {
		p.fail("format")
	}
	e.Stream = string(p.text())
	e.Sequence = p.uint(64)
	e.ID = p.uuid()
	e.Timestamp = p.int()
	p.nullable(&e.ActorID, &e.ActorEmail, &e.ActorRole, &e.ActorType)
	p.nullable(&e.ResourceType, &e.ResourceID, &e.Action, &e.OldValues, &e.NewValues)
	e.Changed = p.names()
	p.nullable(&e.Source, &e.IPAddress, &e.UserAgent)
	p.nullable(&e.GeoCountry, &e.GeoCity, &e.GeoLat, &e.GeoLon)
	p.nullable(&e.ReasonCode, &e.ReasonNote)
	p.nullable(&e.Attribution, &e.RequestID, &e.TraceID, &e.APIKeyID, &e.DBUser, &e.ApplicationName)
	p.nullable(&e.SchemaName, &e.TableName, &e.Operation)
	e.XID = uint32(p.uint(32))
	e.CommitLSN = audit.LSN(p.uint(64))
	e.Ordinal = uint32(p.uint(32))
	if salt := p.text(); len(salt) == len(e.Salt) {
		e.Salt = audit.Salt(salt)
	} else {
		p.fail("salt")
	}
	if len(p.rest) > 0 {
		p.fail("end")
	}
	return e, p.err
}

// parser takes netstrings off the front of rest. After the first failure it
// gives out nothing any more.
type parser struct {
	rest []byte
	err  error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("malformed %s, %d bytes before the end", what, len(p.rest))
	}
	p.rest = nil
}

// text takes one netstring, whose length has no leading zero.
func (p *parser) text() audit.Text {
	colon := bytes.IndexByte(p.rest[:min(len(p.rest), 20)], ':')
	if colon < 1 || p.rest[0] == '0' && colon > 1 {
		p.fail("netstring")
		return nil
	}
	n, err := strconv.ParseUint(string(p.rest[:colon]), 10, 63)
	if err != nil || uint64(len(p.rest)-colon-1) <= n || p.rest[colon+1+int(n)] != ',' {
		p.fail("netstring")
		return nil
	}
	begin, end := colon+1, colon+1+int(n)
	text := p.rest[begin:end:end]
	p.rest = p.rest[end+1:]
	return text
}

// nullable takes columns: a netstring each, or "n," for NULL.
func (p *parser) nullable(columns ...*audit.Text) {
	for _, c := range columns {
		if bytes.HasPrefix(p.rest, []byte("n,")) {
			*c, p.rest = nil, p.rest[2:]
			continue
		}
		*c = p.text()
	}
}

// names takes the list of changed columns.
func (p *parser) names() []string {
	list := parser{rest: p.text()}
	var names []string
	for len(list.rest) > 0 {
		names = append(names, string(list.text()))
	}
	if list.err != nil {
		p.fail("list of names")
	}
	return names
}

// uint takes a decimal number of so many bits.
func (p *parser) uint(bits int) uint64 {
	text := p.text()
	n, err := strconv.ParseUint(string(text), 10, bits)
	if err != nil || string(text) != strconv.FormatUint(n, 10) {
		p.fail("number")
	}
	return n
}

func (p *parser) int() int64 {
	text := p.text()
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || string(text) != strconv.FormatInt(n, 10) {
		p.fail("number")
	}
	return n
}

func (p *parser) uuid() audit.UUID {
	text := p.text()
	id, ok := audit.ParseUUID(string(text))
	if !ok || string(text) != id.String() {
		p.fail("id")
	}
	return id
}
