package store

import "github.com/pgwitness/pgwitness/audit"

// Stitch is what ties an entry to its neighbours.
type Stitch struct {
	ID             audit.UUID
	Stream         string
	Sequence       uint64
	Timestamp      int64
	Position       audit.Position
	PrevHash, Hash audit.Hash
}

// Stitch fills s with that of entry i; all else is left in the columns.
func (c *Columns) Stitch(i int, s *Stitch) {
	s.ID, s.Stream, s.Sequence, s.Timestamp = audit.UUID(c.id[i]), c.stream.name(i), c.sequence[i], int64(c.timestamp.Data[i])
	s.Position = audit.Position{CommitLSN: audit.LSN(c.commitLSN[i]), Ordinal: c.ordinal[i]}
	s.PrevHash, s.Hash = audit.Hash(c.seal[i][:32]), audit.Hash(c.seal[i][32:])
}

// Marks says which entries of a block have something in a column of text. It is
// valid as long as the block is.
type Marks struct {
	low    *lowText
	marked []bool // by key of low; empty: none is
	text   *textColumn
	has    func(audit.Text) bool
}

// MarkAction, MarkAttribution, MarkOldValues and MarkNewValues mark the entries
// of which has says so. It is asked once for each value of a dictionary; of a
// column without one, whenever an entry is looked up.
func (c *Columns) MarkAction(has func(audit.Text) bool) Marks      { return c.action.mark(has) }
func (c *Columns) MarkAttribution(has func(audit.Text) bool) Marks { return c.attribution.mark(has) }
func (c *Columns) MarkOldValues(has func(audit.Text) bool) Marks   { return c.oldValues.mark(has) }
func (c *Columns) MarkNewValues(has func(audit.Text) bool) Marks   { return c.newValues.mark(has) }

func (c *lowText) mark(has func(audit.Text) bool) Marks {
	m := Marks{low: c}
	for key := range uint32(c.dict.Rows()) {
		if has(c.value(key)) {
			if m.marked == nil {
				m.marked = make([]bool, c.dict.Rows())
			}
			m.marked[key] = true
		}
	}
	return m
}

func (c *textColumn) mark(has func(audit.Text) bool) Marks {
	if c.absent() && !has(nil) {
		return Marks{}
	}
	return Marks{text: c, has: has}
}

// At reports whether entry i is marked.
func (m *Marks) At(i int) bool {
	if m.text != nil {
		return m.has(m.text.row(i))
	}
	return m.marked != nil && m.marked[m.low.key(i)]
}
