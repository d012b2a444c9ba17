package enrich

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
)

// Prefix is the prefix of the logical messages that are ours.
const Prefix = "pgwitness"

// A message is two bytes of kind and version, a MAC, and a JSON payload; see
// docs/stamps.md.
const (
	kindStamp   = "S1"
	kindEvent   = "E1"
	kindRefused = "R1"
	kindDDL     = "D1"
	kindMark    = "B1" // of the baseline

	macSize    = 16
	headerSize = 2 + macSize
)

// errForged is what is wrong with a message whose MAC is not ours, or that was
// written for another transaction or database.
var errForged = errors.New("forged")

// payload is the JSON of a message. Fields that do not apply are absent.
type payload struct {
	XID         uint64            `json:"x"`
	Database    string            `json:"d"`
	SessionUser string            `json:"u"`
	Role        string            `json:"r"`
	Application string            `json:"a"`
	Host        string            `json:"h"`
	PID         int               `json:"i"`
	Depth       int               `json:"t"`
	Claims      claimSet          `json:"c"`
	Query       string            `json:"q"`
	QueryCut    bool              `json:"qc"` // only the ends of the query are there
	QueryDashes bool              `json:"qd"` // the part that is left out holds --
	Backslashes bool              `json:"qb"` // standard_conforming_strings is off
	ClaimsCut   bool              `json:"cc"`
	Presets     presetClaims      `json:"p"`
	Directory   map[string]string `json:"w"`
	Error       string            `json:"err"` // SQLSTATE of what kept the stamp from being whole
	At          int64             `json:"at"`  // microseconds since 1970
	Event       *event            `json:"e"`
	DDL         *ddl              `json:"ddl"`
}

// presetClaims is what each preset found, under the names of our fields.
type presetClaims map[string]map[string]string

func (p *payload) lexing() lexing { return lexing{p.QueryCut, p.QueryDashes, p.Backslashes} }

// authenticator checks MACs; its buffers live with it, so that a check costs no
// memory.
type authenticator struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

func newAuthenticator(key [32]byte) *authenticator {
	return &authenticator{mac: hmac.New(sha256.New, key[:])}
}

// open checks the MAC of content and returns its kind and its payload.
func (a *authenticator) open(content []byte) (kind, body []byte, err error) {
	if len(content) < headerSize {
		return nil, nil, fmt.Errorf("%w: %d bytes are too short for a message", errForged, len(content))
	}
	kind, body = content[:2], content[headerSize:]
	a.mac.Reset()
	a.mac.Write(kind)
	a.mac.Write(body)
	if !hmac.Equal(a.mac.Sum(a.sum[:0])[:macSize], content[2:headerSize]) {
		return nil, nil, fmt.Errorf("%w: the MAC is not ours", errForged)
	}
	return kind, body, nil
}

// stampCache remembers the contexts of recent payloads. Connections stamp the
// same facts transaction after transaction; only the transaction id, which
// stands first, differs.
type stampCache struct {
	contexts map[string]*context
	bytes    int
}

// stampCacheBytes bounds the payloads remembered; at the bound all are
// forgotten, which costs one more decoding each.
const stampCacheBytes = 4 << 20

func newStampCache() stampCache { return stampCache{contexts: make(map[string]*context)} }

// stamp returns the context that the payload body of transaction xid stands for.
func (e *Enricher) stamp(body []byte, xid uint32) (*context, error) {
	id, rest, ok := cutXID(body)
	if ok {
		if err := boundTo(id, xid); err != nil {
			return nil, err
		}
		if c := e.stamps.contexts[string(rest)]; c != nil {
			return c, nil
		}
	}
	p, err := e.payload("stamp", body, xid, true)
	if err != nil {
		return nil, err
	}
	c := newContext(p, e.rules, rowClaims{})
	if ok {
		e.remember(rest, c)
	}
	return c, nil
}

// payload decodes what a message says, and refuses what was written in another
// database or, unless its MAC is all that binds it, in another transaction.
func (e *Enricher) payload(what string, body []byte, xid uint32, bound bool) (*payload, error) {
	p := new(payload)
	if err := json.Unmarshal(body, p); err != nil {
		return nil, fmt.Errorf("decode %s: %w", what, err)
	}
	if bound {
		if err := boundTo(p.XID, xid); err != nil {
			return nil, err
		}
	}
	return p, e.ofThisDatabase(p)
}

// boundTo refuses a message that says another transaction than the one it is in.
func boundTo(said uint64, xid uint32) error {
	if uint32(said) != xid {
		return fmt.Errorf("%w: written for transaction %d, found in %d", errForged, uint32(said), xid)
	}
	return nil
}

// ofThisDatabase refuses what was written in another database, of which this
// one, or its keys, may be a copy. A stamp that could not be made whole may lack
// the name.
func (e *Enricher) ofThisDatabase(p *payload) error {
	if e.db == "" || p.Database == e.db || p.Database == "" && p.Error != "" {
		return nil
	}
	return fmt.Errorf("%w: written in database %q, found in %q", errForged, p.Database, e.db)
}

func (e *Enricher) remember(rest []byte, c *context) {
	if e.stamps.bytes+len(rest) > stampCacheBytes {
		e.stamps = newStampCache()
	}
	e.stamps.contexts[string(rest)] = c
	e.stamps.bytes += len(rest)
}

// cutXID splits {"x":123,… behind the number.
func cutXID(body []byte) (id uint64, rest []byte, ok bool) {
	digits, ok := bytes.CutPrefix(body, []byte(`{"x":`))
	if !ok {
		return 0, nil, false
	}
	for len(digits) > 0 && digits[0] == ' ' {
		digits = digits[1:]
	}
	n := 0
	for n < len(digits) && digits[n] >= '0' && digits[n] <= '9' {
		n++
	}
	id, err := strconv.ParseUint(string(digits[:n]), 10, 64)
	return id, digits[n:], err == nil
}

// appendMessage handles a logical message: a stamp sets the context, an event
// or a forgery becomes an entry, and messages of others are not our business.
func (e *Enricher) appendMessage(dst []audit.Entry, tx *audit.Tx, c *audit.Change, before int64) []audit.Entry {
	m := c.Message
	if m.Prefix != Prefix {
		return dst
	}
	code, body, err := e.auth.open(m.Content)
	kind := string(code)
	switch {
	case err != nil:
	case kind == kindStamp && m.Transactional:
		var ctx *context
		if ctx, err = e.stamp(body, tx.XID); err == nil {
			e.tx.context = ctx
			return dst
		}
	case kind == kindEvent || kind == kindRefused:
		var p *payload
		if p, err = e.eventPayload(body, tx, m.Transactional); err == nil {
			e.tx.announced = e.tx.announced || m.Transactional && p.Event.Action == setupAction
			return e.appendEvent(dst, tx, p, kind, before)
		}
	case kind == kindDDL && m.Transactional:
		var p *payload
		if p, err = e.ddlPayload(body, tx); err == nil {
			return e.appendDDL(dst, tx, p)
		}
	case kind == kindMark:
		var b *mark
		if b, err = openMark(body, tx, m.Transactional); err == nil {
			return e.appendMark(dst, tx, b)
		}
	default:
		err = fmt.Errorf("a message of kind %q is not known to this version", kind)
	}
	e.stats.Forged++
	return e.appendForgery(dst, tx, m, err, before)
}
