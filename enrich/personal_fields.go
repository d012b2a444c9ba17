package enrich

import (
	"cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// personalID is what attribution says of an entry whose resource_id holds
// tokens. No claim of anybody reads like it: theirs are strings.
const personalID = `,"personal_resource_id":true`

// personalFieldRules says which fields of an entry are personal.
type personalFieldRules struct {
	class   [fieldCount]string // "": not personal
	subject subject
}

// compilePersonal returns nil when there is no personal field.
func compilePersonal(p Personal) *personalFieldRules {
	if len(p.Fields) == 0 {
		return nil
	}
	r := &personalFieldRules{}
	for _, name := range p.Fields {
		for i, field := range fieldNames() {
			if field == name {
				r.class[i] = personalFields[name]
			}
		}
	}
	r.subject, _ = parseSubject(cmp.Or(p.Subject, DefaultActorSubject)) // validated
	return r
}

// has reports whether field i is personal.
func (r *personalFieldRules) has(i int) bool { return r != nil && r.class[i] != "" }

// classOf is the class of a fact in the attribution object; "" is not personal.
// It goes by the name, because what stands there are other values of the same
// fields, and texts that may hold any of them.
func (r *personalFieldRules) classOf(object, key string) string {
	if r == nil {
		return ""
	}
	switch {
	case object == "observed" && key == "host", object == "" && (key == "invalid_ip_address" || key == "forwarded"),
		object == "disbelieved" && key == "ip_address":
		return r.class[ipAddress]
	case object == "disbelieved" && key == "actor_email":
		return r.class[actorEmail]
	case object == "disbelieved" && key == "user_agent":
		return r.class[userAgent]
	case object == "" && (key == "invalid_context" || key == "invalid_"+presetPostgREST || key == "invalid_"+presetHasura || key == "invalid_"+presetPostGraphile):
		return classContext
	}
	return ""
}

// appendFact appends a member of an object in attribution.
func (a *attribution) appendFact(b []byte, object string, kv pair) []byte {
	class := a.personal.classOf(object, kv.key)
	if class == "" {
		return appendPair(b, kv.key, kv.value)
	}
	b = append(appendKey(b, kv.key), '"')
	a.holes = append(a.holes, hole{len(b), class, a.subject(), []byte(kv.value)})
	return append(append(b, blankText...), '"')
}

// appendPersonal says which columns of the entry hold tokens.
func (a *attribution) appendPersonal(b []byte) []byte {
	sep := `,"personal":["`
	for i := range a.fields {
		if f := &a.fields[i]; f.source != "" && a.personal.has(i) {
			b = append(append(b, sep...), f.name...)
			sep = `","`
		}
	}
	if sep == `","` {
		b = append(b, `"]`...)
	}
	return b
}

// subject is whose the personal fields are.
func (a *attribution) subject() string {
	name, _ := a.personal.subject.of(nil, func(int) ([]byte, bool) { return []byte(a.fields[actorID].value), true })
	return string(name)
}

// contextBlanks is what is personal in a context. The context lives longer than
// a batch, and so gets new blanks in each.
type contextBlanks struct {
	round  int    // in which the blanks were made; -1: in none
	first  int    // of them in Enricher.blanks
	count  int    // and their number
	fields []hole // the offset is the field
	holes  []hole // of the attribution
}

// contextBlanks takes the personal values out of a; nil when there is none.
func (a *attribution) contextBlanks() *contextBlanks {
	if a.personal == nil {
		return nil
	}
	c := &contextBlanks{round: -1, holes: a.holes}
	for i := range a.fields {
		if f := &a.fields[i]; f.source != "" && a.personal.has(i) {
			c.fields = append(c.fields, hole{i, a.personal.class[i], a.subject(), []byte(f.value)})
		}
	}
	if len(c.fields)+len(c.holes) == 0 {
		return nil
	}
	return c
}

// renew gives ctx the blanks of this round. All entries of a round that ctx
// governs share them: the position is that of the last.
func (e *Enricher) renew(ctx *context) {
	c := ctx.personal
	if c.round == e.round {
		for i := c.first; i < c.first+c.count; i++ {
			e.blanks[i].Position = e.position
		}
		return
	}
	c.round, c.first, c.count = e.round, len(e.blanks), len(c.fields)+len(c.holes)
	// Not out of the arena: a context may live long, and would hold a block of it.
	places := make([]byte, 0, len(c.fields)*audit.TokenSize+len(ctx.attribution))
	blank := func(at []byte, h hole) {
		e.blanks = append(e.blanks, audit.Blank{At: at, Class: h.class, Subject: h.subject, Value: h.value, Position: e.position})
	}
	for _, h := range c.fields {
		start := len(places)
		places = append(places, blankText...)
		at := places[start:len(places):len(places)]
		*fieldOf(&ctx.template, h.offset) = at
		blank(at, h)
	}
	start := len(places)
	places = append(places, ctx.attribution...)
	ctx.attribution = places[start:]
	for _, h := range c.holes {
		at := ctx.attribution[h.offset : h.offset+audit.TokenSize]
		copy(at, blankText)
		blank(at, h)
	}
}

// fieldOf is the column of a personal field.
func fieldOf(n *audit.Entry, field int) *audit.Text {
	switch field {
	case actorEmail:
		return &n.ActorEmail
	case ipAddress:
		return &n.IPAddress
	}
	return &n.UserAgent
}

// plainApplication is an application name without what a pooler added to it.
func plainApplication(name audit.Text) audit.Text {
	plain, _, _ := pooledApplication(name.String())
	return optional(plain)
}
