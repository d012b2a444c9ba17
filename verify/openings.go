package verify

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pgwitness/pgwitness/audit"
)

// vault is where the openings of tokens lie.
type vault interface {
	// Closed says why the vault cannot be read; "" when it can.
	Closed(ctx context.Context) (reason string, err error)

	// Open calls use for every opening that is stored of one of tokens, in any
	// order; a token without one is not mentioned. found is false when the key of
	// its subject is not there.
	Open(ctx context.Context, stream string, tokens []audit.Hash, use func(o Opening, key audit.SubjectKey, found bool)) error
}

// Opening is what the vault says that a token stands for.
type Opening struct {
	Token audit.Hash
	Class string
	Value []byte
}

const (
	askedTokens = 4096    // that are looked up together
	keptTokens  = 1 << 16 // of which the outcome is remembered; then all are forgotten
)

// standing is what is known of a token.
type standing byte

const (
	unopened standing = iota // the vault has no opening
	opens
	mismatch // it has one that does not give the token
	keyless  // it has one, and not the key
)

// openings checks the tokens of a segment. It belongs to one goroutine, and what
// it holds does not depend on the number of entries.
type openings struct {
	ask    func([]audit.Hash, func(Opening, audit.SubjectKey, bool)) error // nil: the tokens are only counted
	found  *findings
	tokens uint64 // seen so far

	known   map[audit.Hash]standing
	waiting []place
	wanted  []audit.Hash
	tok     audit.Tokenizer
}

// place is a token that waits to be judged.
type place struct {
	token    audit.Hash
	sequence uint64
	column   string
}

// take notes the tokens of an entry: those in the values of a changed row, in
// attribution, and in the columns that attribution says to hold one. What
// applications wrote elsewhere is none, whatever it looks like.
func (o *openings) take(e *audit.Entry) error {
	switch string(e.Operation) {
	case "insert", "update", "delete", "baseline":
		o.json(e, "old_values", e.OldValues)
		o.json(e, "new_values", e.NewValues)
	}
	o.json(e, "attribution", e.Attribution)
	for _, f := range []struct {
		name string
		text audit.Text
	}{{"actor_email", e.ActorEmail}, {"ip_address", e.IPAddress}, {"user_agent", e.UserAgent}} {
		if hash, ok := audit.ParseToken(f.text); ok && bytes.Contains(e.Attribution, []byte(`"personal":[`)) {
			o.note(hash, e.Sequence, f.name)
		}
	}
	if bytes.Contains(e.ResourceID, []byte(audit.TokenPrefix)) && bytes.Contains(e.Attribution, []byte(`"personal_resource_id":true`)) {
		for part := range bytes.SplitSeq(e.ResourceID, []byte{'/'}) {
			if hash, ok := audit.ParseToken(part); ok {
				o.note(hash, e.Sequence, "resource_id")
			}
		}
	}
	if len(o.wanted) >= askedTokens {
		return o.judge()
	}
	return nil
}

func (o *openings) json(e *audit.Entry, column string, text audit.Text) {
	for from := 0; ; {
		hash, member, at := audit.NextToken(text, from)
		if at < 0 {
			return
		}
		o.note(hash, e.Sequence, column+"."+string(member))
		from = at + audit.TokenSize
	}
}

func (o *openings) note(hash audit.Hash, sequence uint64, column string) {
	o.tokens++
	if o.ask == nil {
		return
	}
	if s, ok := o.known[hash]; ok {
		o.report(place{hash, sequence, column}, s)
		return
	}
	o.waiting = append(o.waiting, place{hash, sequence, column})
	o.wanted = append(o.wanted, hash)
}

// judge looks the waiting tokens up.
func (o *openings) judge() error {
	if len(o.wanted) == 0 {
		return nil
	}
	if len(o.known) > keptTokens {
		clear(o.known)
	}
	for _, hash := range o.wanted {
		o.known[hash] = unopened
	}
	err := o.ask(o.wanted, func(opening Opening, key audit.SubjectKey, found bool) {
		s := opens
		switch {
		case !found:
			s = keyless
		case o.tok.Token(&key, opening.Class, opening.Value) != opening.Token:
			s = mismatch
		}
		o.known[opening.Token] = max(o.known[opening.Token], s)
	})
	if err != nil {
		return fmt.Errorf("open tokens: %w", err)
	}
	for _, p := range o.waiting {
		o.report(p, o.known[p.token])
	}
	o.waiting, o.wanted = o.waiting[:0], o.wanted[:0]
	return nil
}

func (o *openings) report(p place, s standing) {
	f := Finding{Kind: OpeningMismatch, Sequence: p.sequence, Columns: []string{p.column}, Got: string(audit.AppendToken(nil, p.token))}
	switch s {
	case opens:
		return
	case unopened:
		f.Kind, f.What = OpeningMissing, "the token in "+p.column+" has no opening, and no record of an erasure says why"
	case keyless:
		f.Kind, f.What = OpeningMissing, "the token in "+p.column+" has an opening, and the key of its subject is missing without a record of an erasure"
	case mismatch:
		f.What = "the token in " + p.column + " does not open: key and clear value of the vault give another one"
	}
	o.found.openings.add(f)
}

// openings is the verdict on the tokens.
func (r *run) openings(found *findings) Verdict {
	v := Verdict{Name: Openings, Total: found.openings.total, Findings: found.openings.kept}
	switch {
	case r.o.Vault == nil:
		v.Status, v.Reason = NotChecked, "no vault was given"
	case r.tokens == 0:
		v.Status, v.Reason = Holds, "there are no tokens of personal values"
	case r.closed != "":
		v.Status, v.Reason = NotChecked, fmt.Sprintf("%d tokens, and %s", r.tokens, r.closed)
	default:
		v.settle()
		v.Reason = fmt.Sprintf("%d tokens of personal values", r.tokens)
	}
	return v
}
