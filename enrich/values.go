package enrich

import (
	"bytes"
	"slices"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// notes is what an entry has to say about its own values.
type notes struct {
	oldValues string   // why the old values are not (all) there
	unknown   []string // columns whose value is not in the log
	truncate  string
	ruleError string
	event     []pair

	personalID bool // resource_id holds tokens
}

func (n *notes) empty() bool {
	return n.oldValues == "" && len(n.unknown) == 0 && n.truncate == "" && n.ruleError == "" && len(n.event) == 0 && !n.personalID
}

// values fills OldValues, NewValues and Changed from the row images of c.
func (e *Enricher) values(n *audit.Entry, p *plan, c *audit.Change) notes {
	var ns notes
	switch c.Op {
	case audit.Insert:
		n.NewValues = e.image(p, c.New, nil)
	case audit.Delete:
		n.OldValues = e.oldImage(p, c, &ns)
	case audit.Update:
		e.update(n, p, c, &ns)
	case audit.Truncate:
		ns.truncate = truncateWords(c)
	}
	return ns
}

// update fills an entry from both images. With the whole old row at hand, the
// columns that changed and the key are kept; otherwise nobody knows what
// changed, and everything that the log holds is kept.
func (e *Enricher) update(n *audit.Entry, p *plan, c *audit.Change, ns *notes) {
	if !c.OldWhole {
		n.OldValues = e.oldImage(p, c, ns)
		n.NewValues = e.image(p, c.New, nil)
		for i, v := range c.New {
			if v.Kind == audit.Unchanged && i < len(p.columns) {
				ns.unknown = append(ns.unknown, p.columns[i].name)
			}
		}
		return
	}
	count := 0
	for i := range p.columns {
		if differs(c, i) {
			count++
		}
	}
	if count > 0 {
		n.Changed = make([]string, 0, count)
	}
	for _, i := range p.byName {
		if differs(c, i) {
			n.Changed = append(n.Changed, p.columns[i].name)
		}
	}
	// Without a key only the whole row tells which one it was. Under a new key it
	// is told whole as well: what was read under the old one may be elsewhere, or
	// not have been read yet.
	whole := len(p.key) == 0 || p.rekeyed(c)
	keep := func(i int) bool { return whole || p.columns[i].key || differs(c, i) }
	n.OldValues = e.image(p, c.Old, keep)
	n.NewValues = e.imageOver(p, c.New, c.Old, keep)
}

// rekeyed reports whether an update with a whole old row changed the key.
func (p *plan) rekeyed(c *audit.Change) bool {
	changed := func(i int) bool { return differs(c, i) }
	return slices.ContainsFunc(p.key, changed) || slices.ContainsFunc(p.relation.Key, changed)
}

// differs reports whether an update with a whole old row changed column i. An
// unchanged TOAST value is, as its name says, unchanged.
func differs(c *audit.Change, i int) bool {
	if i >= len(c.New) || i >= len(c.Old) || c.New[i].Kind == audit.Unchanged {
		return false
	}
	return c.New[i].Kind != c.Old[i].Kind || !bytes.Equal(c.New[i].Data, c.Old[i].Data)
}

// oldImage is the old row of c as far as the replica identity lets the log
// hold it; NULL when it holds nothing.
func (e *Enricher) oldImage(p *plan, c *audit.Change, ns *notes) audit.Text {
	if c.OldWhole {
		return e.image(p, c.Old, nil)
	}
	ns.oldValues = "unknown: replica identity " + p.identity
	if c.Old == nil {
		return nil
	}
	return e.image(p, c.Old, func(i int) bool { return p.columns[i].identity })
}

// image renders the columns of t for which keep holds (nil: all).
func (e *Enricher) image(p *plan, t audit.Tuple, keep func(int) bool) audit.Text {
	return e.imageOver(p, t, nil, keep)
}

// imageOver is image, taking unchanged TOAST values from the row below.
func (e *Enricher) imageOver(p *plan, t, below audit.Tuple, keep func(int) bool) audit.Text {
	b := append(e.scratch[:0], '{')
	clear(e.whose)
	for i, v := range t {
		if i >= len(p.columns) || keep != nil && !keep(i) {
			continue
		}
		if v.Kind == audit.Unchanged && i < len(below) {
			v = below[i]
		}
		if v.Kind == audit.Unchanged || v.Kind == audit.Absent {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, p.columns[i].jsonKey...)
		if p.columns[i].secret && v.Kind == audit.Literal {
			b = append(b, secretJSON...)
			continue
		}
		if c := p.columns[i].personal; c != nil && v.Kind == audit.Literal {
			b = append(e.blank(append(b, '"'), p, c, v.Data, t, below), '"')
			continue
		}
		b = appendValue(b, p.columns[i].form, v)
	}
	b = append(b, '}')
	e.scratch = b
	return e.saveBlanks(b)
}

func appendValue(b []byte, f form, v audit.Value) []byte {
	if v.Kind == audit.Null {
		return append(b, "null"...)
	}
	switch {
	case f == boolean && len(v.Data) == 1 && v.Data[0] == 't':
		return append(b, "true"...)
	case f == boolean && len(v.Data) == 1 && v.Data[0] == 'f':
		return append(b, "false"...)
	case f == bareNumber:
		return append(b, v.Data...)
	case looksLikeToken(v.Data):
		return appendLookalike(b, v.Data)
	}
	return appendJSONString(b, v.Data)
}

// What stands in the trail for a secret value: in a resource id, and as a value,
// where it is an array because the value of a column never is one. It is the same
// for all, so that nothing can be learnt from it but that there is a value, and
// by the column changed that it is another one.
const (
	secretText = "[secret]"
	secretJSON = `["secret"]`
)

// resourceID joins the key columns by slashes, from the new row or, where that
// does not hold them, from the old one. NULL when the key is not known.
func (e *Enricher) resourceID(p *plan, c *audit.Change) audit.Text {
	if len(p.key) == 0 || c.Op == audit.Truncate {
		return nil
	}
	b := e.scratch[:0]
	clear(e.whose)
	for n, i := range p.key {
		v, ok := keyValue(c, i)
		if !ok {
			e.holes = e.holes[:0]
			return nil
		}
		if n > 0 {
			b = append(b, '/')
		}
		if p.columns[i].secret { // a key by mistake: the rows cannot be told apart, but nothing is given away
			v = []byte(secretText)
		}
		if of := p.columns[i].personal; of != nil {
			row := c.New
			if row == nil {
				row = c.Old
			}
			b = e.blank(b, p, of, v, row, c.Old)
			continue
		}
		if len(p.key) == 1 {
			b = append(b, v...)
			continue
		}
		b = appendComponent(b, v)
	}
	e.scratch = b
	return e.saveBlanks(b)
}

func keyValue(c *audit.Change, i int) ([]byte, bool) {
	if i < len(c.New) && c.New[i].Kind == audit.Literal {
		return c.New[i].Data, true
	}
	if i < len(c.Old) && c.Old[i].Kind == audit.Literal {
		return c.Old[i].Data, true
	}
	return nil, false
}

// appendComponent appends one part of a composite id, in which the separator
// is escaped.
func appendComponent(b, v []byte) []byte {
	for _, c := range v {
		switch c {
		case '/':
			b = append(b, "%2F"...)
		case '%':
			b = append(b, "%25"...)
		default:
			b = append(b, c)
		}
	}
	return b
}

func truncateWords(c *audit.Change) string {
	var ws []string
	if c.Cascade {
		ws = append(ws, "cascade")
	}
	if c.RestartIdentity {
		ws = append(ws, "restart identity")
	}
	return strings.Join(ws, ", ")
}

// attribution is that of ctx, with the notes of the entry added.
func (e *Enricher) attribution(ctx *context, n notes) audit.Text {
	if n.empty() {
		return ctx.attribution
	}
	b := append(e.scratch[:0], ctx.attribution[:len(ctx.attribution)-1]...)
	if n.oldValues != "" {
		b = appendPair(b, "old_values", n.oldValues)
	}
	if len(n.unknown) > 0 {
		b = append(appendKey(b, "unknown_values"), '[')
		for i, name := range n.unknown {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONString(b, name)
		}
		b = append(b, ']')
	}
	if n.truncate != "" {
		b = appendPair(b, "truncate", n.truncate)
	}
	if n.ruleError != "" {
		b = appendPair(b, "rule_error", n.ruleError)
	}
	for _, kv := range n.event {
		b = appendPair(b, kv.key, kv.value)
	}
	if n.personalID {
		b = append(b, personalID...)
	}
	b = append(b, '}')
	e.scratch = b
	if ctx.personal != nil {
		e.holes = append(e.holes, ctx.personal.holes...)
	}
	return e.saveBlanks(b)
}
