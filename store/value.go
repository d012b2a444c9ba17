package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// textColumn is a Nullable(String) column that takes and gives audit.Text
// without making strings of it. It is kept as it travels, each value behind its
// length, so that neither sending nor receiving it copies a value.
type textColumn struct {
	nulls  proto.ColUInt8
	wire   []byte
	places []proto.Position // of the values in wire; of a column that is written, found on demand
}

func (c *textColumn) append(t audit.Text) {
	var null uint8
	if t == nil {
		null = 1
	}
	c.nulls = append(c.nulls, null)
	c.wire = append(binary.AppendUvarint(c.wire, uint64(len(t))), t...)
}

// row lends the memory of the column.
func (c *textColumn) row(i int) audit.Text {
	if c.nulls[i] != 0 {
		return nil
	}
	if len(c.places) <= i {
		c.index()
	}
	p := c.places[i]
	return c.wire[p.Start:p.End:p.End]
}

// absent reports whether all rows are NULL.
func (c *textColumn) absent() bool { return bytes.IndexByte(c.nulls, 0) < 0 }

// index finds the values in wire.
func (c *textColumn) index() {
	c.places = c.places[:0]
	for at := 0; at < len(c.wire); {
		size, n := binary.Uvarint(c.wire[at:])
		start := at + n
		at = start + int(size)
		c.places = append(c.places, proto.Position{Start: start, End: at})
	}
}

func (c *textColumn) Type() proto.ColumnType { return "Nullable(String)" }
func (c *textColumn) Rows() int              { return len(c.nulls) }

func (c *textColumn) Reset() {
	c.nulls.Reset()
	c.wire, c.places = c.wire[:0], c.places[:0]
}

func (c *textColumn) EncodeColumn(b *proto.Buffer) {
	c.nulls.EncodeColumn(b)
	b.PutRaw(c.wire)
}

func (c *textColumn) WriteColumn(w *proto.Writer) {
	c.nulls.WriteColumn(w)
	w.ChainWrite(c.wire)
}

// maxColumn limits what one block brings of a column, in bytes: more than a
// server may send by far, and no number that an overflow could make.
const maxColumn = math.MaxInt32

// readAhead limits what is asked for at once, and so what a length that is not
// true can make us reserve.
const readAhead = 1 << 20

// DecodeColumn reads the values as they lie. How many bytes they are is not
// said anywhere; but each that is missing takes one at least, so that many can
// be asked for at once without reading beyond the last.
func (c *textColumn) DecodeColumn(r *proto.Reader, rows int) error {
	if err := c.nulls.DecodeColumn(r, rows); err != nil {
		return err
	}
	c.wire, c.places = c.wire[:0], c.places[:0]
	for at := 0; ; {
		next, wanted, err := c.complete(at, rows)
		if err != nil || wanted == 0 {
			return err
		}
		at = next
		n := len(c.wire)
		wanted = min(wanted, readAhead)
		c.wire = slices.Grow(c.wire, wanted)[:n+wanted]
		if err := r.ReadFull(c.wire[n:]); err != nil {
			return fmt.Errorf("row %d: %w", len(c.places), err)
		}
	}
}

// complete notes the places of the values that are all there, from at on. It
// returns where the first one begins that is not, and how many bytes are missing
// at least; 0 when all rows are there.
func (c *textColumn) complete(at, rows int) (next, missing int, err error) {
	for left := rows - len(c.places); left > 0; left-- {
		size, n := binary.Uvarint(c.wire[at:])
		switch {
		case n < 0 || size > maxColumn || len(c.wire)+int(size) > maxColumn:
			return 0, 0, fmt.Errorf("row %d: %w", len(c.places), errLength)
		case n == 0:
			return at, left, nil
		}
		end := at + n + int(size)
		if end > len(c.wire) {
			return at, end - len(c.wire) + left - 1, nil
		}
		c.places = append(c.places, proto.Position{Start: at + n, End: end})
		at = end
	}
	return at, 0, nil
}

var errLength = errors.New("a length that no value has")
