package store

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// lowText is a LowCardinality(Nullable(String)) or LowCardinality(String)
// column: a dictionary of the distinct values, and one key into it per row. In
// a nullable one key 0 is NULL, whatever string lies there.
type lowText struct {
	nullable bool
	dict     proto.ColStr
	keys     []uint32 // empty when keys of one byte were read: those stay in narrow

	index map[string]uint32 // when writing: value → key
	names []string          // when reading: key → value, filled on demand

	laid     []byte // the values as they stand in a preimage, see layOut
	laidEnds []int  // of each key in laid

	narrow proto.ColUInt8 // keys as they travel; the narrowest that fits is used
	medium proto.ColUInt16
}

func newLowText(nullable bool) *lowText {
	return &lowText{nullable: nullable, index: make(map[string]uint32)}
}

// append adds a row to a nullable column. It allocates only for values that
// are not yet in the dictionary.
func (c *lowText) append(t audit.Text) {
	if len(c.dict.Pos) == 0 {
		c.dict.AppendBytes(nil) // the place of NULL
	}
	if t == nil {
		c.keys = append(c.keys, 0)
		return
	}
	// Runs of the same value are the rule: the last key is tried first.
	if n := len(c.keys); n > 0 && c.keys[n-1] > 0 && bytes.Equal(c.dict.RowBytes(int(c.keys[n-1])), t) {
		c.keys = append(c.keys, c.keys[n-1])
		return
	}
	key, ok := c.index[string(t)]
	if !ok {
		key = c.learn(string(t))
	}
	c.keys = append(c.keys, key)
}

// appendName adds a row to a column that is not nullable.
func (c *lowText) appendName(s string) {
	key, ok := c.index[s]
	if !ok {
		key = c.learn(s)
	}
	c.keys = append(c.keys, key)
}

// learn puts a value into the dictionary.
func (c *lowText) learn(s string) uint32 {
	key := uint32(len(c.dict.Pos))
	c.dict.Append(s)
	c.index[s] = key
	return key
}

// key is that of row i.
func (c *lowText) key(i int) uint32 {
	if len(c.keys) > 0 {
		return c.keys[i]
	}
	return uint32(c.narrow[i])
}

// constant reports whether all rows have the same value.
func (c *lowText) constant() bool {
	if len(c.keys) > 0 {
		return slices.Equal(c.keys[1:], c.keys[:len(c.keys)-1])
	}
	return len(c.narrow) < 2 || bytes.Equal(c.narrow[1:], c.narrow[:len(c.narrow)-1])
}

// row lends the memory of the column.
func (c *lowText) row(i int) audit.Text { return c.value(c.key(i)) }

// value is what a key stands for.
func (c *lowText) value(key uint32) audit.Text {
	if c.nullable && key == 0 {
		return nil
	}
	return present(c.dict.RowBytes(int(key)))
}

// present makes sure that an empty string is not taken for NULL.
func present(b []byte) audit.Text {
	if b == nil {
		return audit.Text{}
	}
	return b
}

// name is row i as a string, which is made once per distinct value of the
// block and outlives it.
func (c *lowText) name(i int) string {
	key := int(c.key(i))
	if len(c.names) == 0 {
		c.names = append(c.names, make([]string, len(c.dict.Pos))...)
	}
	if c.names[key] == "" {
		c.names[key] = c.dict.Row(key)
	}
	return c.names[key]
}

func (c *lowText) Type() proto.ColumnType {
	if c.nullable {
		return "LowCardinality(Nullable(String))"
	}
	return "LowCardinality(String)"
}

func (c *lowText) Rows() int {
	if len(c.keys) > 0 {
		return len(c.keys)
	}
	return len(c.narrow)
}

func (c *lowText) Reset() {
	c.dict.Reset()
	c.keys, c.narrow = c.keys[:0], c.narrow[:0]
	c.names = c.names[:0]
	clear(c.index)
}

// The wire form of a dictionary column: a version before the first block of a
// column, then flags with the width of a key, the dictionary, the keys. Each
// block carries a whole dictionary of its own.
const (
	lowVersion     = 1
	lowWidthMask   = 0xff
	lowGlobal      = 1 << 8  // keys refer to a dictionary sent before; we never get one
	lowHasKeys     = 1 << 9  // the block brings its dictionary
	lowUpdatesDict = 1 << 10 // it replaces the one before
)

func (c *lowText) EncodeState(b *proto.Buffer) { b.PutInt64(lowVersion) }

func (c *lowText) DecodeState(r *proto.Reader) error {
	v, err := r.Int64()
	if err != nil {
		return err
	}
	if v != lowVersion {
		return fmt.Errorf("dictionary version %d, want %d", v, lowVersion)
	}
	return nil
}

func (c *lowText) EncodeColumn(b *proto.Buffer) {
	if keys := c.encodeDictionary(b); keys != nil {
		keys.EncodeColumn(b)
	}
}

func (c *lowText) WriteColumn(w *proto.Writer) {
	var keys proto.ColInput
	w.ChainBuffer(func(b *proto.Buffer) { keys = c.encodeDictionary(b) })
	if keys != nil {
		keys.WriteColumn(w)
	}
}

// encodeDictionary writes everything but the keys, and returns those; nil when
// there are none, and nothing to write.
func (c *lowText) encodeDictionary(b *proto.Buffer) (keys proto.ColInput) {
	if c.Rows() == 0 {
		return nil
	}
	width, keys := c.packed()
	b.PutInt64(lowHasKeys | lowUpdatesDict | width)
	b.PutInt64(int64(c.dict.Rows()))
	c.dict.EncodeColumn(b)
	b.PutInt64(int64(c.Rows()))
	return keys
}

// packed is the keys in the narrowest type, and that type's number.
func (c *lowText) packed() (width int64, keys proto.ColInput) {
	switch n := c.dict.Rows(); {
	case len(c.keys) == 0: // they were read
		return 0, c.narrow
	case n <= math.MaxUint8+1:
		c.narrow = c.narrow[:0]
		for _, k := range c.keys {
			c.narrow = append(c.narrow, uint8(k))
		}
		return 0, c.narrow
	case n <= math.MaxUint16+1:
		c.medium = c.medium[:0]
		for _, k := range c.keys {
			c.medium = append(c.medium, uint16(k))
		}
		return 1, c.medium
	}
	return 2, proto.ColUInt32(c.keys)
}

func (c *lowText) DecodeColumn(r *proto.Reader, rows int) error {
	if rows == 0 {
		return nil
	}
	flags, err := r.Int64()
	if err != nil {
		return err
	}
	if flags&lowGlobal != 0 || flags&lowHasKeys == 0 {
		return fmt.Errorf("dictionary flags %#x are not supported", flags)
	}
	size, err := r.Int64()
	if err != nil {
		return err
	}
	if size < 0 || size > math.MaxUint32 {
		return fmt.Errorf("dictionary of %d values", size)
	}
	if err := c.dict.DecodeColumn(r, int(size)); err != nil {
		return err
	}
	n, err := r.Int64()
	if err != nil {
		return err
	}
	if n != int64(rows) {
		return fmt.Errorf("%d dictionary keys for %d rows", n, rows)
	}
	return c.decodeKeys(r, flags&lowWidthMask, rows)
}

// decodeKeys reads the keys and checks them, so that a row can be taken
// without fear.
func (c *lowText) decodeKeys(r *proto.Reader, width int64, rows int) error {
	switch width {
	case 0:
		return c.decodeNarrow(r, rows)
	case 1:
		c.medium.Reset()
		if err := c.medium.DecodeColumn(r, rows); err != nil {
			return err
		}
		for _, k := range c.medium {
			c.keys = append(c.keys, uint32(k))
		}
	case 2:
		if err := (*proto.ColUInt32)(&c.keys).DecodeColumn(r, rows); err != nil {
			return err
		}
	default:
		return fmt.Errorf("dictionary keys of width %d", width)
	}
	for _, k := range c.keys {
		if int(k) >= len(c.dict.Pos) {
			return fmt.Errorf("dictionary key %d of %d", k, len(c.dict.Pos))
		}
	}
	return nil
}

// decodeNarrow leaves keys of one byte, which nearly all are, as they travel.
func (c *lowText) decodeNarrow(r *proto.Reader, rows int) error {
	c.narrow.Reset()
	if err := c.narrow.DecodeColumn(r, rows); err != nil {
		return err
	}
	highest := c.narrow[0]
	if !c.constant() {
		highest = slices.Max(c.narrow)
	}
	if int(highest) >= len(c.dict.Pos) {
		return fmt.Errorf("dictionary key %d of %d", highest, len(c.dict.Pos))
	}
	return nil
}

// nameLists is an Array(LowCardinality(String)) column.
type nameLists struct {
	ends  proto.ColUInt64 // end of each row in names
	names *lowText
}

func (c *nameLists) append(names []string) {
	for _, n := range names {
		c.names.appendName(n)
	}
	c.ends = append(c.ends, uint64(c.names.Rows()))
}

// row appends the names of row i to dst.
func (c *nameLists) row(dst []string, i int) []string {
	from, to := c.span(i)
	for k := from; k < to; k++ {
		dst = append(dst, c.names.name(k))
	}
	return dst
}

// span is where the names of row i lie in names.
func (c *nameLists) span(i int) (from, to int) {
	if i > 0 {
		from = int(c.ends[i-1])
	}
	return from, int(c.ends[i])
}

func (c *nameLists) Type() proto.ColumnType { return "Array(LowCardinality(String))" }
func (c *nameLists) Rows() int              { return len(c.ends) }

func (c *nameLists) Reset() {
	c.ends.Reset()
	c.names.Reset()
}

func (c *nameLists) EncodeState(b *proto.Buffer)       { c.names.EncodeState(b) }
func (c *nameLists) DecodeState(r *proto.Reader) error { return c.names.DecodeState(r) }

func (c *nameLists) EncodeColumn(b *proto.Buffer) {
	c.ends.EncodeColumn(b)
	c.names.EncodeColumn(b)
}

func (c *nameLists) WriteColumn(w *proto.Writer) {
	c.ends.WriteColumn(w)
	c.names.WriteColumn(w)
}

func (c *nameLists) DecodeColumn(r *proto.Reader, rows int) error {
	if err := c.ends.DecodeColumn(r, rows); err != nil {
		return err
	}
	before := uint64(0)
	for _, end := range c.ends {
		if end < before || end > math.MaxInt32 {
			return fmt.Errorf("array offset %d after %d", end, before)
		}
		before = end
	}
	return c.names.DecodeColumn(r, int(before))
}
