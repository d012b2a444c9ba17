package enrich

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// The sources that attribution names, most trusted first. A rule is named
// "rule:<name>". What a client claimed (session, comment) is asserted; what
// PostgreSQL itself knows is observed.
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
	attributed  bool        // the actor is more than a database user
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
	fields  [fieldCount]field
	comment []pair // of comments, without a column of their own
	flags   []pair // what was wrong with the claims
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
	for i := range a.fields {
		if a.fields[i].name == name {
			a.take(i, value, source)
			return true
		}
	}
	return false
}

func (a *attribution) flag(key, value string) { a.flags = append(a.flags, pair{key, value}) }

// newContext resolves the facts of p, most trusted source first. p is nil for
// changes that no stamp governs.
func newContext(p *payload, r *rules) *context {
	a := newAttribution()
	if p == nil {
		a.flag("context", "bypassed")
		a.take(actorID, "unknown", fromNone)
		a.take(actorType, "unknown", fromNone)
		return a.context(&payload{})
	}
	if p.Error != "" {
		a.flag("stamp_error", p.Error)
	}
	if p.ClaimsCut {
		a.flag("claims", "cut")
	}
	a.takeSession(p)
	a.takeComments(p)
	a.takeRules(p, r)
	a.takeObserved(p)
	return a.context(p)
}

// takeSession takes the session variables, the single ones before the JSON in
// audit.context.
func (a *attribution) takeSession(p *payload) {
	a.takeEvent(p.Event)
	for i := range a.fields {
		a.take(i, p.Claims[a.fields[i].name], fromSession)
	}
	text := p.Claims["context"]
	if text == "" {
		return
	}
	var claims map[string]any
	if err := json.Unmarshal([]byte(text), &claims); err != nil {
		a.flag("invalid_context", text)
		return
	}
	for i := range a.fields {
		a.take(i, scalar(claims[a.fields[i].name]), fromSession)
	}
}

// scalar is the text of a JSON value that can stand in a column.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// takeComments takes the SQL comments at the ends of the client's query.
func (a *attribution) takeComments(p *payload) {
	if p.QueryCut {
		a.flag("comment", "query cut")
	}
	for _, kv := range commentPairs(p.Query, p.QueryCut) {
		switch {
		case kv.key == "traceparent":
			a.take(traceID, traceOf(kv.value), fromComment)
		case kv.key == "application":
			a.take(sourceName, kv.value, fromComment)
		case a.takeNamed(kv.key, kv.value, fromComment):
		default:
			a.comment = append(a.comment, kv)
		}
	}
}

// traceOf is the trace id of a W3C traceparent header, version 00:
// 00-<32 hex>-<16 hex>-<2 hex>.
func traceOf(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 {
		return ""
	}
	return parts[1]
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
	}
	a.take(sourceName, rule.Actor.Source, from)
}

// takeObserved takes what PostgreSQL knows by itself.
func (a *attribution) takeObserved(p *payload) {
	a.take(ipAddress, p.Host, fromObserved)
	if a.fields[actorID].source != "" {
		a.take(actorType, typeOfID(a.fields[actorID].value), fromInferred)
	}
	if p.SessionUser != "" {
		a.take(actorID, "db:"+p.SessionUser, fromObserved)
	}
	a.take(actorID, "unknown", fromNone)
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
func (a *attribution) context(p *payload) *context {
	a.normaliseAddress()
	a.checkType()
	f := &a.fields
	t := audit.Entry{
		ActorID: f[actorID].text(), ActorEmail: f[actorEmail].text(),
		ActorRole: f[actorRole].text(), ActorType: f[actorType].text(),
		Source: f[sourceName].text(), IPAddress: f[ipAddress].text(), UserAgent: f[userAgent].text(),
		ReasonCode: f[reasonCode].text(), ReasonNote: f[reasonNote].text(),
		RequestID: f[requestID].text(), TraceID: f[traceID].text(), APIKeyID: f[apiKeyID].text(),
		DBUser: optional(p.SessionUser), ApplicationName: optional(p.Application),
	}
	who := f[actorID].source
	return &context{
		template:    t,
		attribution: a.json(p),
		attributed:  who != fromNone && who != fromObserved,
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

// normaliseAddress writes an IP address in its one canonical form (RFC 5952,
// IPv4 in IPv6 unmapped). What is no address is kept as it is, and flagged.
func (a *attribution) normaliseAddress() {
	f := &a.fields[ipAddress]
	if f.source == "" {
		return
	}
	first, _, _ := strings.Cut(f.value, ",") // X-Forwarded-For: the client stands first
	ip, err := netip.ParseAddr(strings.TrimSpace(first))
	if err != nil {
		a.flag("invalid_ip_address", f.value)
		return
	}
	f.value = ip.Unmap().WithZone("").String()
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
	b = appendObject(b, "observed", a.observed(p))
	b = appendObject(b, "comment", a.comment)
	if i := mfaAt; a.fields[i].source != "" {
		b = appendPair(b, "mfa_at_value", a.fields[i].value)
	}
	for _, kv := range a.flags {
		b = appendPair(b, kv.key, kv.value)
	}
	return append(b, '}')
}

func (a *attribution) observed(p *payload) []pair {
	var ps []pair
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
	return appendJSONString(b, value)
}

func appendObject(b []byte, key string, ps []pair) []byte {
	if len(ps) == 0 {
		return b
	}
	b = append(appendKey(b, key), '{')
	for _, kv := range ps {
		b = appendPair(b, kv.key, kv.value)
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
