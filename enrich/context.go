package enrich

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// The sources that attribution names, most trusted first. A rule is named
// "rule:<name>", a preset "preset:<name>". What a client claimed (session,
// preset, comment, row, application_name) is asserted; what PostgreSQL itself
// knows is observed.
const (
	fromEvent    = "event" // an argument of pgwitness.event()
	fromSession  = "session"
	fromComment  = "comment"
	fromObserved = "observed"
	fromInferred = "inferred" // the type of an actor, told by the form of its id
	fromNone     = "none"
)

// context is everything that a stamp says about the changes it governs.
type context struct {
	template    audit.Entry // who, where and why are filled in
	attribution []byte      // JSON object
	who         ActorSource // how the actor is known
	payload     *payload    // what it was made of; nil: no stamp

	rows map[rowClaims]*context // made of this one and of what rows say; nil: none yet

	personal *contextBlanks // nil: nothing in it is personal
}

// field is one attributed column: its value and the source it was taken from.
type field struct {
	name   string
	value  string
	source string // "" until something was taken
}

// The attributed fields, in the order of the attribution object.
const (
	actorID = iota
	actorEmail
	actorRole
	actorType
	reasonCode
	reasonNote
	ipAddress
	userAgent
	sourceName
	requestID
	traceID
	apiKeyID
	mfaAt
	fieldCount
)

func fieldNames() [fieldCount]string {
	return [fieldCount]string{
		"actor_id", "actor_email", "actor_role", "actor_type", "reason_code", "reason_note",
		"ip_address", "user_agent", "source", "request_id", "trace_id", "api_key_id", "mfa_at",
	}
}

// attribution collects the fields; the first source to set one wins.
type attribution struct {
	fields      [fieldCount]field
	place       Place  // of the address
	comment     []pair // of comments, without a column of their own
	claims      []pair // of audit.context, likewise
	disbelieved []pair // claims of a user who is not believed
	flags       []pair // what was wrong with the claims

	personal *personalFieldRules // nil: no field is personal
	holes    []hole              // of the attribution object
}

type pair struct{ key, value string }

func newAttribution() *attribution {
	a := &attribution{}
	for i, name := range fieldNames() {
		a.fields[i].name = name
	}
	return a
}

// take sets field i unless a more trusted source did, or value is empty.
func (a *attribution) take(i int, value, source string) {
	if f := &a.fields[i]; f.source == "" && value != "" {
		f.value, f.source = value, source
	}
}

// takeNamed is take for the field called name; ok is false if there is none.
func (a *attribution) takeNamed(name, value, source string) (ok bool) {
	i := a.index(name)
	if i < 0 {
		return false
	}
	a.take(i, value, source)
	return true
}

// index is the field called name, -1 if there is none.
func (a *attribution) index(name string) int {
	for i := range a.fields {
		if a.fields[i].name == name {
			return i
		}
	}
	return -1
}

func (a *attribution) flag(key, value string) { a.flags = append(a.flags, pair{key, value}) }

// newContext resolves the facts of p, and of the row, most trusted source
// first. p is nil for changes that no stamp governs.
func newContext(p *payload, r *rules, row rowClaims) *context {
	a := newAttribution()
	a.personal = r.personal
	if p == nil {
		a.flag("context", "bypassed")
		a.takeRow(row)
		a.take(actorID, "unknown", fromNone)
		a.takeType()
		return a.context(nil, r)
	}
	if p.Error != "" {
		a.flag("stamp_error", p.Error)
	}
	if p.ClaimsCut {
		a.flag("claims", "cut")
	}
	a.takeClaims(p, r)
	a.takeRow(row)
	a.takeRules(p, r)
	a.takeAddress(p)
	a.takeObserved(p)
	return a.context(p, r)
}

func (a *attribution) takeRow(row rowClaims) {
	a.take(actorID, row.actor, fromRow)
	a.takeActivity(row.activity)
	a.take(reasonCode, row.reason, fromRow)
}

// takeComments takes the SQL comments at the ends of the client's query.
func (a *attribution) takeComments(p *payload) {
	pairs, cut := commentPairs(p.Query, p.lexing())
	if cut {
		a.flag("comments", "cut")
	}
	for _, kv := range pairs {
		switch {
		case kv.key == "traceparent":
			a.takeTrace(kv.value, fromComment)
		case kv.key == "application":
			a.take(sourceName, kv.value, fromComment)
		case a.takeNamed(kv.key, kv.value, fromComment):
		default:
			a.comment = appendNew(a.comment, kv)
		}
	}
}

// appendNew appends kv under a key that ps does not have yet: of two comments
// that disagree both values are kept.
func appendNew(ps []pair, kv pair) []pair {
	key := kv.key
	for n := 2; slices.ContainsFunc(ps, func(p pair) bool { return p.key == kv.key }); n++ {
		kv.key = key + " " + strconv.Itoa(n)
	}
	return append(ps, kv)
}

func (a *attribution) takeRules(p *payload, r *rules) {
	rule := r.actor(p)
	if rule == nil {
		return
	}
	from := "rule:" + rule.Name
	// Another actor than the one who is known must not lend him his role.
	if f := a.fields[actorID]; f.source == "" || f.value == rule.Actor.ID {
		a.take(actorID, rule.Actor.ID, from)
		a.take(actorEmail, rule.Actor.Email, from)
		a.take(actorRole, rule.Actor.Role, from)
		a.take(actorType, rule.Actor.Type, from)
	} else if rule.Actor.Type == "human" && rule.Actor.ID != "" {
		// The connection belongs to one person, and claims to be another.
		a.flag("contradicts", from+" "+rule.Actor.ID)
	}
	a.take(sourceName, rule.Actor.Source, from)
}

// takeObserved takes what PostgreSQL knows by itself.
func (a *attribution) takeObserved(p *payload) {
	known := a.fields[actorID].source != ""
	if p.SessionUser != "" {
		a.take(actorID, "db:"+p.SessionUser, fromObserved)
	}
	a.take(actorID, "unknown", fromNone)
	if known {
		a.takeType()
	}
	a.take(actorType, "unknown", fromNone)
}

// takeType tells the type of a known actor by his id.
func (a *attribution) takeType() {
	if f := a.fields[actorID]; f.source != fromNone {
		a.take(actorType, typeOfID(f.value), fromInferred)
	}
	a.take(actorType, "unknown", fromNone)
}

// typeOfID tells machines from humans by the naming of service accounts:
// api:shopify-connector, system:inventory-sync, cron:daily-reconciliation.
func typeOfID(id string) string {
	switch kind, _, _ := strings.Cut(id, ":"); kind {
	case "api", "system", "cron":
		return kind
	case "db":
		return "unknown"
	}
	return "human"
}

// context makes the entry template and the attribution object.
func (a *attribution) context(p *payload, r *rules) *context {
	a.normaliseAddress(r.places)
	a.checkType()
	f := &a.fields
	t := audit.Entry{
		ActorID: f[actorID].text(), ActorEmail: f[actorEmail].text(),
		ActorRole: f[actorRole].text(), ActorType: f[actorType].text(),
		Source: f[sourceName].text(), IPAddress: f[ipAddress].text(), UserAgent: f[userAgent].text(),
		GeoCountry: optional(a.place.Country), GeoCity: optional(a.place.City),
		GeoLat: optional(a.place.Latitude), GeoLon: optional(a.place.Longitude),
		ReasonCode: f[reasonCode].text(), ReasonNote: f[reasonNote].text(),
		RequestID: f[requestID].text(), TraceID: f[traceID].text(), APIKeyID: f[apiKeyID].text(),
	}
	if p != nil {
		t.DBUser, t.ApplicationName = optional(p.SessionUser), optional(p.Application)
	}
	if _, _, pooled := pooledApplication(t.ApplicationName.String()); pooled && a.personal.has(ipAddress) {
		t.ApplicationName = plainApplication(t.ApplicationName) // what the pooler added is the address
	}
	return &context{
		template:    t,
		attribution: a.json(p),
		who:         actorSource(f[actorID].source),
		payload:     p,
		personal:    a.contextBlanks(),
	}
}

func (f *field) text() audit.Text {
	if f.source == "" {
		return nil
	}
	return audit.T(f.value)
}

func optional(s string) audit.Text {
	if s == "" {
		return nil
	}
	return audit.T(s)
}

// checkType keeps actor_type to its five words.
func (a *attribution) checkType() {
	f := &a.fields[actorType]
	for _, t := range actorTypes() {
		if f.value == t {
			return
		}
	}
	a.flag("invalid_actor_type", f.value)
	f.value = "unknown"
}

// json renders the attribution object: field → source, then the observed facts
// that have no column, then what comments said besides, then the flags.
func (a *attribution) json(p *payload) []byte {
	b := []byte{'{'}
	for i := range a.fields {
		f := &a.fields[i]
		if f.source == "" {
			continue
		}
		b = appendPair(b, f.name, f.source)
	}
	b = a.appendPersonal(b)
	b = a.appendObject(b, "observed", a.observed(p))
	b = a.appendObject(b, "comment", a.comment)
	b = a.appendObject(b, "context_claims", a.claims)
	b = a.appendObject(b, "disbelieved", a.disbelieved)
	if i := mfaAt; a.fields[i].source != "" {
		b = appendPair(b, "mfa_at_value", a.fields[i].value)
	}
	for _, kv := range a.flags {
		b = a.appendFact(b, "", kv)
	}
	return append(b, '}')
}

func (a *attribution) observed(p *payload) []pair {
	var ps []pair
	if p == nil {
		return nil
	}
	if p.Host != "" && a.fields[ipAddress].source != fromObserved {
		ps = append(ps, pair{"host", p.Host})
	}
	if p.Role != "" {
		ps = append(ps, pair{"role", p.Role})
	}
	if p.PID != 0 {
		ps = append(ps, pair{"pid", strconv.Itoa(p.PID)})
	}
	if p.Depth != 0 {
		ps = append(ps, pair{"trigger_depth", strconv.Itoa(p.Depth)})
	}
	return ps
}

func appendPair(b []byte, key, value string) []byte {
	b = appendKey(b, key)
	if len(value) == audit.TokenSize && looksLikeToken([]byte(value)) {
		return appendLookalike(b, []byte(value))
	}
	return appendJSONString(b, value)
}

func (a *attribution) appendObject(b []byte, key string, ps []pair) []byte {
	if len(ps) == 0 {
		return b
	}
	b = append(appendKey(b, key), '{')
	for _, kv := range ps {
		b = a.appendFact(b, key, kv)
	}
	return append(b, '}')
}

// appendKey appends the key of the next member of the object that b ends in.
func appendKey(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendJSONString(b, key), ':')
}
