package enrich

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
)

// event is what pgwitness.event() was called with, or what a guard refused.
type event struct {
	Action       string          `json:"action"`
	ResourceType string          `json:"resource_type"`
	ResourceID   string          `json:"resource_id"`
	Details      json.RawMessage `json:"details"` // a JSON value
	ReasonCode   string          `json:"reason_code"`
	ReasonNote   string          `json:"reason_note"`

	ActorID    string `json:"actor_id"`
	IPAddress  string `json:"ip_address"`
	UserAgent  string `json:"user_agent"`
	APIKeyID   string `json:"api_key_id"`
	OnBehalfOf string `json:"on_behalf_of"`

	// Of a refused attempt: the table, and the one that the configuration names,
	// of which it may be a partition.
	Schema string   `json:"schema"`
	Table  string   `json:"table"`
	Of     []string `json:"of"`
}

// eventPayload decodes the payload of an event. One inside a transaction is
// bound to it; one outside is bound by its MAC alone.
func (e *Enricher) eventPayload(body []byte, tx *audit.Tx, transactional bool) (*payload, error) {
	p, err := e.payload("event", body, tx.XID, transactional)
	if err == nil && p.Event == nil {
		err = errors.New("decode event: there is none in the message")
	}
	return p, err
}

// appendEvent makes the entry of something that is not a change of a row.
func (e *Enricher) appendEvent(dst []audit.Entry, tx *audit.Tx, p *payload, kind string, before int64) []audit.Entry {
	ctx := newContext(p, e.rules, rowClaims{})
	dst, n := e.begin(dst, ctx, tx)
	e.setTime(n, p.At, before)
	n.XID = uint32(p.XID)

	ev, ns := p.Event, notes{}
	n.Operation = audit.T("event")
	n.Action = audit.T(ev.Action)
	n.ResourceType, n.ResourceID = optional(ev.ResourceType), optional(ev.ResourceID)
	if kind == kindRefused {
		e.refused(n, ev)
		e.stats.Refused++
		ns.event = append(ns.event, pair{"refused_action", ev.Action})
	} else if !e.rules.vocabulary[ev.Action] {
		ns.event = append(ns.event, pair{"action", "not in the vocabulary"})
	}
	if len(ev.Details) > 0 && string(ev.Details) != "null" {
		n.NewValues = e.arena.save(ev.Details)
	}
	n.Attribution = e.attribution(ctx, ns)
	e.stats.BySource[ctx.who]++
	return dst
}

// setTime gives an entry outside of any transaction a time: the one that the
// message claims, or that of the preceding entry.
func (e *Enricher) setTime(n *audit.Entry, at, before int64) {
	if n.Timestamp != 0 {
		return
	}
	if at == 0 {
		at = before
	}
	n.Timestamp = at
	n.ID = audit.EntryID(e.stream, at, n.Position())
}

// maxForgery is the number of bytes of a forged message that are kept; of a
// longer one its length and SHA-256 tell the rest.
const maxForgery = 64 << 10

// appendForgery makes the entry of a message that has our prefix and is not
// ours. Who the transaction belongs to is told by its good stamps, if any.
func (e *Enricher) appendForgery(dst []audit.Entry, tx *audit.Tx, m *audit.Message, reason error, before int64) []audit.Entry {
	ctx := e.governing()
	dst, n := e.begin(dst, ctx, tx)
	e.setTime(n, 0, before)
	n.Operation = audit.T("message")
	n.Action = audit.T("forged_context")
	n.ResourceType = audit.T("pgwitness.message")

	sum := sha256.Sum256(m.Content)
	kept := m.Content[:min(len(m.Content), maxForgery)]
	b := append([]byte(nil), '{')
	b = appendPair(b, "prefix", m.Prefix)
	b = appendPair(b, "error", reason.Error())
	b = append(appendKey(b, "transactional"), strconv.FormatBool(m.Transactional)...)
	b = append(appendKey(b, "length"), strconv.Itoa(len(m.Content))...)
	b = appendPair(b, "sha256", hex.EncodeToString(sum[:]))
	b = appendPair(b, "content", hex.EncodeToString(kept))
	n.NewValues = e.arena.save(append(b, '}'))
	n.Attribution = ctx.attribution
	e.stats.BySource[ctx.who]++
	return dst
}
