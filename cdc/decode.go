package cdc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"

	"github.com/pgwitness/pgwitness/audit"
)

// message is what one message of pgoutput says. The decoder fills the same one
// again and again.
type message struct {
	kind pglogrepl.MessageType

	// Of Begin and Commit.
	commitLSN audit.LSN
	endLSN    audit.LSN // Commit only
	time      int64     // microseconds since 1970
	xid       uint32    // Begin only

	// Of Insert, Update, Delete, Truncate and Message.
	change    audit.Change
	truncated []*audit.Relation // change.Relation, for each table of a Truncate
	weight    int               // memory of one change, see memory.go
}

// decoder reads messages of pgoutput, protocol version 1, in the order they
// come: a Relation describes the tables of the changes after it. Every read is
// checked against the length of the message. It belongs to one connection.
type decoder struct {
	keys      KeySource
	mem       memory
	relations map[uint32]*audit.Relation
	prefixes  map[string]string // of logical messages, to have each only once
	near      audit.LSN         // of the last message that had a position
	msg       message
}

func newDecoder(keys KeySource) *decoder {
	return &decoder{keys: keys, relations: map[uint32]*audit.Relation{}, prefixes: map[string]string{}}
}

// Reasons why a message cannot be decoded.
var (
	errShort    = errors.New("the message ends too early")
	errLong     = errors.New("the message goes on after its end")
	errRelation = errors.New("the table was not described before")
)

// decode reads one message, which stays the caller's. The result is valid until
// the following call; what its change refers to belongs to whoever gets the
// change. A message that cannot be decoded is a *DecodeError; other errors are
// of the key source.
func (d *decoder) decode(ctx context.Context, lsn audit.LSN, frame []byte) (*message, error) {
	if len(frame) == 0 {
		return nil, undecodable("message", lsn, frame, errShort)
	}
	if lsn != 0 {
		d.near = lsn
	}
	lsn = d.near // descriptions of tables and types come without
	m := &d.msg
	m.kind, m.weight = pglogrepl.MessageType(frame[0]), 0
	c := &cursor{rest: frame[1:]}
	var err error
	switch m.kind {
	case pglogrepl.MessageTypeInsert, pglogrepl.MessageTypeUpdate, pglogrepl.MessageTypeDelete:
		return m, d.row(m, lsn, frame)
	case pglogrepl.MessageTypeBegin:
		m.commitLSN, m.time, m.xid = audit.LSN(c.uint64()), c.time(), c.uint32()
	case pglogrepl.MessageTypeCommit:
		err = flags(c.byte(), 0)
		m.commitLSN, m.endLSN, m.time = audit.LSN(c.uint64()), audit.LSN(c.uint64()), c.time()
	case pglogrepl.MessageTypeRelation:
		return m, d.relation(ctx, c, lsn, frame)
	case pglogrepl.MessageTypeTruncate:
		err = d.truncate(m, c, lsn)
	case pglogrepl.MessageTypeMessage:
		err = d.logical(m, c, lsn)
	case pglogrepl.MessageTypeType:
		c.uint32()
		c.string()
		c.string()
	case pglogrepl.MessageTypeOrigin:
		c.uint64()
		c.string()
	default:
		err = errors.New("no message of protocol version 1 has this type")
	}
	if err = c.end(err); err != nil {
		return nil, undecodable(name(frame[0]), lsn, frame, err)
	}
	return m, nil
}

// row reads an Insert, Update or Delete. The message is copied once, and the
// values are parts of the copy.
func (d *decoder) row(m *message, lsn audit.LSN, frame []byte) error {
	m.change = audit.Change{Op: audit.Op(frame[0]), LSN: lsn}
	if len(frame) < 6 {
		return undecodable(name(frame[0]), lsn, frame, errShort)
	}
	id := binary.BigEndian.Uint32(frame[1:])
	rel := d.relations[id]
	if rel == nil {
		return undecodable(fmt.Sprintf("%s on table %d", name(frame[0]), id), lsn, frame, errRelation)
	}
	m.change.Relation = rel
	m.weight = changeWeight + len(frame)
	if err := d.images(m, d.mem.copy(frame[5:])); err != nil {
		return undecodable(fmt.Sprintf("%s on %s.%s", name(frame[0]), rel.Schema, rel.Name), lsn, frame, err)
	}
	return nil
}

// images reads the tuples of a row message: before, after, or both.
func (d *decoder) images(m *message, b []byte) (err error) {
	ch := &m.change
	mark := b[0]
	if mark == 'K' || mark == 'O' {
		if ch.Op == audit.Insert {
			return fmt.Errorf("an insert with an old row (%q)", mark)
		}
		ch.OldWhole = mark == 'O'
		ch.Old, b, err = d.tuple(ch.Relation, b[1:], mark == 'K')
		if err != nil {
			return fmt.Errorf("old row: %w", err)
		}
		m.weight += valueWeight * len(ch.Old)
		if ch.Op == audit.Delete {
			return end(b)
		}
		if len(b) == 0 {
			return errShort
		}
		mark = b[0]
	}
	if mark != 'N' || ch.Op == audit.Delete {
		return fmt.Errorf("a row image of type %q is not expected here", mark)
	}
	ch.New, b, err = d.tuple(ch.Relation, b[1:], false)
	if err != nil {
		return fmt.Errorf("new row: %w", err)
	}
	m.weight += valueWeight * len(ch.New)
	return end(b)
}

// tuple reads one row image and returns what follows it. In the image of a key
// the other columns are sent as NULL, which says nothing about them: they
// are Absent.
func (d *decoder) tuple(rel *audit.Relation, b []byte, key bool) (audit.Tuple, []byte, error) {
	if len(b) < 2 {
		return nil, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n != len(rel.Columns) {
		return nil, nil, fmt.Errorf("%d values for %d columns (PostgreSQL 15.0 and 15.1 send such rows when the publication has column lists: update the server)", n, len(rel.Columns))
	}
	t := d.mem.tuple(n)
	for i := range t {
		if len(b) == 0 {
			return nil, nil, errShort
		}
		switch kind := audit.ValueKind(b[0]); kind {
		case audit.Literal:
			if len(b) < 5 {
				return nil, nil, errShort
			}
			size := uint64(binary.BigEndian.Uint32(b[1:]))
			if size > uint64(len(b)-5) {
				return nil, nil, errShort
			}
			t[i] = audit.Value{Kind: kind, Data: b[5 : 5+size : 5+size]}
			b = b[5+size:]
		case audit.Null:
			if !key || rel.Columns[i].InIdentity {
				t[i].Kind = kind
			}
			b = b[1:]
		case audit.Unchanged:
			t[i].Kind = kind
			b = b[1:]
		default:
			return nil, nil, fmt.Errorf("a value of type %q is not expected in text mode", b[0])
		}
	}
	return t, b, nil
}

// truncate reads a Truncate: one message for all tables of the statement that
// are published.
func (d *decoder) truncate(m *message, c *cursor, lsn audit.LSN) error {
	n, options := c.uint32(), c.byte()
	if err := flags(options, pglogrepl.TruncateOptionCascade|pglogrepl.TruncateOptionRestartIdentity); err != nil {
		return err
	}
	if n == 0 || uint64(n)*4 != uint64(len(c.rest)) {
		return fmt.Errorf("%d tables do not fit the length of the message", n)
	}
	m.truncated = m.truncated[:0]
	for range n {
		rel := d.relations[c.uint32()]
		if rel == nil {
			return errRelation
		}
		m.truncated = append(m.truncated, rel)
	}
	m.weight = changeWeight
	m.change = audit.Change{
		Op: audit.Truncate, LSN: lsn,
		Cascade:         options&pglogrepl.TruncateOptionCascade != 0,
		RestartIdentity: options&pglogrepl.TruncateOptionRestartIdentity != 0,
	}
	return nil
}

// logical reads a logical message. The position in it is that of the end of
// its record; the frame carries the same.
func (d *decoder) logical(m *message, c *cursor, lsn audit.LSN) error {
	transactional := c.byte()
	if err := flags(transactional, 1); err != nil {
		return err
	}
	position := audit.LSN(c.uint64())
	prefix := c.string()
	size := c.uint32()
	if c.short || uint64(size) != uint64(len(c.rest)) {
		return errors.Join(errShort, fmt.Errorf("a content of %d bytes does not fit", size))
	}
	content := d.mem.copy(c.rest)
	msg := d.mem.message()
	msg.Prefix, msg.Content, msg.Transactional = d.prefix(prefix), content, transactional == 1
	c.rest = nil
	m.weight = changeWeight + messageWeight + len(msg.Content)
	m.change = audit.Change{Op: audit.Logical, LSN: position, Message: msg}
	return nil
}

// prefix returns b as a string. The few prefixes that a database uses are made
// once; a stranger who makes up thousands does not fill our memory.
func (d *decoder) prefix(b []byte) string {
	if s, ok := d.prefixes[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.prefixes) < 64 {
		d.prefixes[s] = s
	}
	return s
}

// flags refuses bits that are not known: they would mean something.
func flags(got, known byte) error {
	if got&^known != 0 {
		return fmt.Errorf("flags %#x are not known", got)
	}
	return nil
}

// end refuses bytes that were not read: they would mean something.
func end(rest []byte) error {
	if len(rest) != 0 {
		return errLong
	}
	return nil
}

// name is what errors call a message of that type.
func name(kind byte) string {
	switch op := audit.Op(kind); op {
	case audit.Insert, audit.Update, audit.Delete, audit.Truncate, audit.Logical:
		return op.String()
	}
	if kind < ' ' || kind > '~' {
		return fmt.Sprintf("message of type %#x", kind)
	}
	return fmt.Sprintf("message of type %q", kind)
}

// cursor reads the fields of a message that is not hot. A field beyond the end
// reads as zero and sets short, so that one look at the end is enough.
type cursor struct {
	rest  []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if len(c.rest) < n {
		c.short, c.rest = true, nil
		return make([]byte, n)
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte() byte     { return c.take(1)[0] }
func (c *cursor) uint16() uint16 { return binary.BigEndian.Uint16(c.take(2)) }
func (c *cursor) uint32() uint32 { return binary.BigEndian.Uint32(c.take(4)) }
func (c *cursor) uint64() uint64 { return binary.BigEndian.Uint64(c.take(8)) }

// time reads microseconds since 2000 as microseconds since 1970.
func (c *cursor) time() int64 { return int64(c.uint64()) + pgEpoch }

// string reads up to a zero byte, which it drops.
func (c *cursor) string() []byte {
	i := bytes.IndexByte(c.rest, 0)
	if i < 0 {
		c.short, c.rest = true, nil
		return nil
	}
	return c.take(i + 1)[:i]
}

// end returns err, or what is wrong with the length of the message.
func (c *cursor) end(err error) error {
	switch {
	case c.short:
		return errShort
	case err != nil:
		return err
	}
	return end(c.rest)
}
