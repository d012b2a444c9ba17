package trail

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Opening is t with clear values in the place of the tokens that the user of
// vault may open. Where he may open none, or a person was erased, tokens stay,
// and count as unknown wherever values are compared. A column that was personal
// for a part of the trail only is then one column again.
func (t *Trail) Opening(vault store.Server) *Trail {
	return &Trail{connections: t.connections, opener: &opener{ask: New(vault)}}
}

// opener looks up what tokens stand for, for one reading at a time.
type opener struct{ ask *Trail }

const (
	openedAtOnce = 512     // entries that are held back for one look into the vault
	askedAtOnce  = 2000    // tokens of one query
	keptOpenings = 100_000 // of one reading; then all are forgotten
)

// openings are the tokens of one reading: nil stands for one that does not open.
type openings map[audit.Hash]*string

// Token reports whether the value is a token that was not opened.
func (v Value) Token() bool {
	if v.Kind != String {
		return false
	}
	_, ok := audit.ParseToken(v.Text)
	return ok
}

// rowTokens calls use with each token in the values of a changed row.
func rowTokens(e *audit.Entry, use func(audit.Hash)) {
	switch e.Operation.String() {
	case "insert", "update", "delete", "baseline":
	default:
		return // what others have there, applications wrote
	}
	jsonTokens(e.OldValues, use)
	jsonTokens(e.NewValues, use)
}

func jsonTokens(text audit.Text, use func(audit.Hash)) {
	for from := 0; ; {
		hash, _, at := audit.NextToken(text, from)
		if at < 0 {
			return
		}
		use(hash)
		from = at + audit.TokenSize
	}
}

// personalFields are the fields of e that hold tokens, as its attribution says.
func personalFields(e *audit.Entry) []*audit.Text {
	var fields []*audit.Text
	if bytes.Contains(e.Attribution, []byte(`"personal":[`)) {
		fields = append(fields, &e.ActorEmail, &e.IPAddress, &e.UserAgent)
	}
	if bytes.Contains(e.Attribution, []byte(`"personal_resource_id":true`)) {
		fields = append(fields, &e.ResourceID)
	}
	return fields
}

// tokens calls use with each token in e.
func tokens(e *audit.Entry, use func(audit.Hash)) {
	rowTokens(e, use)
	jsonTokens(e.Attribution, use)
	for _, field := range personalFields(e) {
		for part := range strings.SplitSeq(field.String(), "/") {
			if hash, ok := audit.ParseToken(part); ok {
				use(hash)
			}
		}
	}
}

// open puts clear values into e, as far as o has them. The texts of e are not
// changed, but replaced.
func (o openings) open(e *audit.Entry) {
	found := false
	tokens(e, func(hash audit.Hash) { found = found || o[hash] != nil })
	if !found {
		return
	}
	switch e.Operation.String() {
	case "insert", "update", "delete", "baseline":
		e.OldValues, e.NewValues = o.json(e.OldValues), o.json(e.NewValues)
	}
	for _, field := range personalFields(e) {
		parts := strings.Split(field.String(), "/")
		for i, part := range parts {
			hash, ok := audit.ParseToken(part)
			if value := o[hash]; ok && value != nil {
				if parts[i] = *value; len(parts) > 1 {
					parts[i] = keyEscapes.Replace(*value)
				}
			}
		}
		if *field != nil {
			*field = audit.T(strings.Join(parts, "/"))
		}
	}
	e.Attribution = o.json(e.Attribution)
}

// json opens the tokens of a JSON object.
func (o openings) json(text audit.Text) audit.Text {
	var out audit.Text
	from := 0
	for next := 0; ; {
		hash, _, at := audit.NextToken(text, next)
		if at < 0 {
			break
		}
		next = at + audit.TokenSize
		if value := o[hash]; value != nil {
			out = append(out, text[from:at-1]...)
			out = appendString(out, *value)
			from = next + 1
		}
	}
	if from == 0 {
		return text
	}
	return append(out, text[from:]...)
}

// look asks for the tokens of wanted that o does not know.
func (p *opener) look(ctx context.Context, o openings, wanted []audit.Hash) error {
	if len(o)+len(wanted) > keptOpenings {
		clear(o)
	}
	var ask []string
	for _, hash := range wanted {
		if _, known := o[hash]; !known {
			o[hash] = nil
			ask = append(ask, "'"+hash.String()+"'")
		}
	}
	for len(ask) > 0 {
		n := min(len(ask), askedAtOnce)
		if err := p.lookFor(ctx, o, ask[:n]); err != nil {
			return fmt.Errorf("open tokens: %w", err)
		}
		ask = ask[n:]
	}
	return nil
}

func (p *opener) lookFor(ctx context.Context, o openings, hexadecimal []string) error {
	var token proto.ColFixedStr32
	var value proto.ColStr
	q := query{
		"SELECT token, value FROM openings WHERE token IN (SELECT toFixedString(unhex(arrayJoin({tokens:Array(String)})), 32)) AND stream IN (SELECT DISTINCT stream FROM genesis)",
		[]proto.Parameter{store.Param("tokens", "["+strings.Join(hexadecimal, ",")+"]")},
	}
	return p.ask.receive(ctx, q, proto.Results{{Name: "token", Data: &token}, {Name: "value", Data: &value}}, func() error {
		for i := range token {
			text := value.Row(i)
			o[token[i]] = &text
		}
		return nil
	})
}

// opened is seq with clear values, some entries held back so that they are asked
// for together. Memory is that of these.
func (p *opener) opened(ctx context.Context, seq iter.Seq2[*audit.Entry, error]) iter.Seq2[*audit.Entry, error] {
	return func(yield func(*audit.Entry, error) bool) {
		known := make(openings)
		var held []audit.Entry
		var wanted []audit.Hash
		flush := func() bool {
			if err := p.look(ctx, known, wanted); err != nil {
				yield(nil, err)
				return false
			}
			for i := range held {
				known.open(&held[i])
				if !yield(&held[i], nil) {
					return false
				}
			}
			held, wanted = held[:0], wanted[:0]
			return true
		}
		for e, err := range seq {
			if err != nil {
				yield(nil, err)
				return
			}
			held = append(held, store.Clone(e))
			tokens(e, func(hash audit.Hash) { wanted = append(wanted, hash) })
			if len(held) == openedAtOnce && !flush() {
				return
			}
		}
		flush()
	}
}
