package store

import (
	"strconv"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// Preimages makes the bytes that the content hashes of a block are taken over,
// straight from its columns: the same that audit.AppendPreimage makes of each
// entry, in a fraction of the time. What all entries of the block have in common
// is laid out once, and so is each value of a dictionary. It is valid as long as
// the block is, belongs to one goroutine, and keeps its memory from block to
// block.
type Preimages struct {
	pieces []piece

	common   []byte // all literals
	begun    int    // where the one begins that is being laid out
	literals [maxPieces]literal

	sequence, commitLSN number[uint64]
	timestamp           number[proto.DateTime64]
	xid, ordinal        number[uint32]
	changed             names
}

// maxPieces is more than there are columns: no two literals are neighbours.
const maxPieces = 40

// piece is a stretch of the preimage.
type piece interface {
	// append appends that of entry i.
	append(dst []byte, i int) []byte
}

// Preimages lays out those of a block that was received. Entries that were put
// into it by Append serve as well.
func (c *Columns) Preimages() *Preimages {
	p := &c.preimages
	p.pieces, p.common, p.begun = p.pieces[:0], p.common[:0], 0
	if c.Rows() == 0 {
		return p
	}
	p.common = audit.AppendNetstring(p.common, audit.EntryTag)
	p.lows(c.stream)
	p.add(p.sequence.of(c.sequence), (*ids)(&c.id), p.timestamp.of(c.timestamp.Data))
	p.lows(c.actorID, c.actorEmail, c.actorRole, c.actorType, c.resourceType)
	p.texts(&c.resourceID)
	p.lows(c.action)
	p.texts(&c.oldValues, &c.newValues)
	p.lists(&c.changed)
	p.lows(c.source, c.ipAddress, c.userAgent, c.geoCountry, c.geoCity, c.geoLat, c.geoLon, c.reasonCode)
	p.texts(&c.reasonNote)
	p.lows(c.attribution)
	p.texts(&c.requestID, &c.traceID)
	p.lows(c.apiKeyID, c.dbUser, c.applicationName, c.schemaName, c.tableName, c.operation)
	p.add(p.xid.of(c.xid), p.commitLSN.of(c.commitLSN), p.ordinal.of(c.ordinal), (*salts)(&c.salt))
	return p
}

// Append appends the preimage of entry i to dst.
func (p *Preimages) Append(dst []byte, i int) []byte {
	for _, piece := range p.pieces {
		dst = piece.append(dst, i)
	}
	return dst
}

// add puts pieces behind what was common so far.
func (p *Preimages) add(pieces ...piece) {
	if len(p.common) > p.begun {
		l := &p.literals[len(p.pieces)]
		*l = p.common[p.begun:len(p.common):len(p.common)]
		p.begun = len(p.common)
		p.pieces = append(p.pieces, l)
	}
	p.pieces = append(p.pieces, pieces...)
}

// lows adds columns with a dictionary.
func (p *Preimages) lows(columns ...*lowText) {
	for _, c := range columns {
		if c.constant() {
			p.common = audit.AppendText(p.common, c.row(0))
			continue
		}
		c.layOut()
		p.add((*dictionary)(c))
	}
}

// texts adds columns without a dictionary.
func (p *Preimages) texts(columns ...*textColumn) {
	for _, c := range columns {
		if c.absent() {
			p.common = audit.AppendText(p.common, nil)
			continue
		}
		p.add((*values)(c))
	}
}

// lists adds a column of names.
func (p *Preimages) lists(c *nameLists) {
	if c.names.Rows() == 0 {
		p.common = audit.AppendNetstring(p.common, "")
		return
	}
	p.changed.lists = c
	p.add(&p.changed)
}

// literal is the same for all entries.
type literal []byte

func (l *literal) append(dst []byte, _ int) []byte { return append(dst, *l...) }

// dictionary is a column with one, whose values are laid out.
type dictionary lowText

func (d *dictionary) append(dst []byte, i int) []byte {
	key, start := (*lowText)(d).key(i), 0
	if key > 0 {
		start = d.laidEnds[key-1]
	}
	return append(dst, d.laid[start:d.laidEnds[key]]...)
}

// layOut fills laid.
func (c *lowText) layOut() {
	c.laid, c.laidEnds = c.laid[:0], c.laidEnds[:0]
	for key := range uint32(c.dict.Rows()) {
		c.laid = audit.AppendText(c.laid, c.value(key))
		c.laidEnds = append(c.laidEnds, len(c.laid))
	}
}

// values is a column without a dictionary.
type values textColumn

func (v *values) append(dst []byte, i int) []byte {
	return audit.AppendText(dst, (*textColumn)(v).row(i))
}

// names is the column of lists.
type names struct {
	lists *nameLists
	inner []byte
}

func (n *names) append(dst []byte, i int) []byte {
	n.inner = n.inner[:0]
	from, to := n.lists.span(i)
	for k := from; k < to; k++ {
		n.inner = audit.AppendNetstring(n.inner, n.lists.names.row(k))
	}
	return audit.AppendNetstring(dst, n.inner)
}

// number is a column of numbers. Most entries have that of their predecessor, as
// all of a transaction do, or the next higher one: then the digits are at hand.
type number[N uint32 | uint64 | proto.DateTime64] struct {
	column []N
	value  N
	text   []byte // ns(dec(value)); empty before the first
}

func (n *number[N]) of(column []N) *number[N] {
	n.column, n.text = column, n.text[:0]
	return n
}

func (n *number[N]) append(dst []byte, i int) []byte {
	switch v, last := n.column[i], len(n.text)-2; {
	case last < 0 || v != n.value && (v != n.value+1 || v < 1 || n.text[last] == '9'):
		n.write(v)
	case v != n.value:
		n.value = v
		n.text[last]++
	}
	return append(dst, n.text...)
}

func (n *number[N]) write(v N) {
	var digits [20]byte
	text := strconv.AppendUint(digits[:0], uint64(v), 10)
	if v < 0 {
		text = strconv.AppendInt(digits[:0], int64(v), 10)
	}
	n.value, n.text = v, audit.AppendNetstring(n.text[:0], text)
}

// ids is the column of ids.
type ids proto.ColUUID

func (u *ids) append(dst []byte, i int) []byte {
	dst = append(dst, "36:"...)
	return append(audit.UUID((*u)[i]).Append(dst), ',')
}

// salts is the column of salts.
type salts proto.ColFixedStr16

func (s *salts) append(dst []byte, i int) []byte {
	dst = append(dst, "16:"...)
	return append(append(dst, (*s)[i][:]...), ',')
}
