package enrich

import (
	"cmp"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// Personal values do not enter the trail: a token stands in their place. Which
// one, only the keys of the subjects tell, and those are not here. So entries
// are made with blanks of the size of a token, and Blanks hands out where they
// are and what belongs into each, before the entries are sealed.

// blankText holds the place of a token. It is none, so that an entry that was
// sealed with one by mistake would not pass for one that has a token.
const blankText = "--------------------------------------------------------------------"

// Blanks returns the blanks of the entries made since the last call. They must
// be filled in before anybody looks at those entries.
func (e *Enricher) Blanks() []audit.Blank {
	blanks := e.blanks
	e.blanks = nil
	e.round++
	return blanks
}

// personalColumn is what a plan knows of a personal column.
type personalColumn struct {
	class string
	whose int // index into plan.subjects
}

// planSubject is a subject with the columns of a table.
type planSubject struct {
	subject
	columns []int // of its parts; -1 where there is none
}

// choosePersonal finds the personal columns of a table among its columns.
func (p *plan) choosePersonal(t Table) {
	for i := range p.columns {
		c := &p.columns[i]
		said, ok := t.Personal[c.name]
		if !ok || c.secret {
			continue
		}
		c.personal = &personalColumn{said.Class, p.whose(cmp.Or(said.Subject, t.Subject))}
		p.personal, p.personalKey = true, p.personalKey || c.key
	}
}

// whose is the index of a subject in p.subjects.
func (p *plan) whose(text string) int {
	s, _ := parseSubject(text) // validated
	i := slices.IndexFunc(p.subjects, func(other planSubject) bool { return slices.Equal(other.subject, s) })
	if i >= 0 {
		return i
	}
	with := planSubject{subject: s}
	for _, part := range s {
		with.columns = append(with.columns, slices.IndexFunc(p.columns, func(c column) bool { return c.name == part.column }))
	}
	p.subjects = append(p.subjects, with)
	return len(p.subjects) - 1
}

// hole is a blank in something that is still being written.
type hole struct {
	offset  int
	class   string
	subject string
	value   []byte
}

// blank appends a blank for a value of a row to b, and remembers its place. t
// and below are the images that the value is out of.
func (e *Enricher) blank(b []byte, p *plan, c *personalColumn, value []byte, t, below audit.Tuple) []byte {
	for len(e.whose) <= c.whose {
		e.whose = append(e.whose, "")
	}
	if e.whose[c.whose] == "" {
		e.whose[c.whose] = e.subjectOf(p, &p.subjects[c.whose], t, below)
	}
	e.holes = append(e.holes, hole{len(b), c.class, e.whose[c.whose], value})
	return append(b, blankText...)
}

// saveBlanks is arena.save for what may have blanks.
func (e *Enricher) saveBlanks(b []byte) audit.Text {
	saved := e.arena.save(b)
	for _, h := range e.holes {
		e.blanks = append(e.blanks, audit.Blank{
			At: saved[h.offset : h.offset+audit.TokenSize], Class: h.class, Subject: h.subject,
			Value: e.arena.save(h.value), Position: e.position,
		})
	}
	e.holes = e.holes[:0]
	return saved
}

// subjectOf says whose a value of a row is. Where the row does not tell, as for
// the order of a guest, it is the row's own.
func (e *Enricher) subjectOf(p *plan, s *planSubject, t, below audit.Tuple) string {
	name, ok := s.of(e.name[:0], func(part int) ([]byte, bool) { return literalAt(s.columns[part], t, below) })
	if !ok || len(s.subject) == 0 {
		name = p.ownSubject(e.name[:0], t, below)
	}
	e.name = name
	return string(name)
}

// ownSubject names a row as a subject: its resource type and its id.
func (p *plan) ownSubject(name []byte, t, below audit.Tuple) []byte {
	name = append(append(name, p.resourceType...), ':')
	for n, i := range p.key {
		if n > 0 {
			name = append(name, '/')
		}
		v, ok := literalAt(i, t, below)
		switch {
		case !ok:
			name = append(name, '?')
		case len(p.key) == 1:
			name = append(name, v...)
		default:
			name = appendComponent(name, v)
		}
	}
	return name
}

// literalAt is the text of column i of a row, unchanged values taken from the
// row below; ok is false when it is NULL or not known.
func literalAt(i int, t, below audit.Tuple) (text []byte, ok bool) {
	if i < 0 || i >= len(t) {
		return nil, false
	}
	v := t[i]
	if v.Kind == audit.Unchanged && i < len(below) {
		v = below[i]
	}
	return v.Data, v.Kind == audit.Literal
}

// looksLikeToken reports whether a value that is none has the form of a token.
func looksLikeToken(v []byte) bool {
	if len(v) != audit.TokenSize || v[0] != audit.TokenPrefix[0] {
		return false
	}
	_, ok := audit.ParseToken(v)
	return ok
}

// appendLookalike writes such a value so that nobody takes it for a token: the
// same JSON string, its first letter escaped.
func appendLookalike(b, v []byte) []byte {
	b = append(b, `"\u0070`...)
	return append(append(b, v[1:]...), '"')
}

// tellable is what an entry may say about the error of a rule, which may quote
// a value.
func (p *plan) tellable(err error) string {
	if p.personal {
		return "failed on values of which some are personal"
	}
	return firstLine(err.Error())
}
