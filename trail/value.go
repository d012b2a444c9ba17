package trail

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/pgwitness/pgwitness/audit"
)

// Kind tells what a Value is.
type Kind byte

// The kinds of values. Unknown is the zero value: the trail does not say.
const (
	Unknown Kind = iota
	Null         // SQL NULL
	Bool         // Text is true or false
	Number       // Text is a smallint, integer or bigint
	String       // Text is the text form that PostgreSQL wrote, of any other type
	JSON         // Text is a JSON array or object; only events carry such
)

// Value is one column value out of old_values or new_values.
type Value struct {
	Kind Kind
	Text string
}

// Secret reports whether the value is one that the configuration keeps out of
// the trail; an array, which no value of a column is, stands for it.
func (v Value) Secret() bool { return v.Kind == JSON && v.Text == `["secret"]` }

// Known reports whether the trail says what the value is; NULL is known.
func (v Value) Known() bool { return v.Kind != Unknown }

// Postgres returns the text that PostgreSQL writes for the value on the wire,
// where a boolean is t or f. It is "" for NULL and Unknown.
func (v Value) Postgres() string {
	if v.Kind == Bool {
		return v.Text[:1]
	}
	return v.Text
}

// Field is a column and its value.
type Field struct {
	Name  string
	Value Value
}

// Row is an image of a row: the columns that are known, in column order.
type Row []Field

// Get returns the value of the column; Unknown when the row lacks it.
func (r Row) Get(column string) Value {
	for _, f := range r {
		if f.Name == column {
			return f.Value
		}
	}
	return Value{}
}

// ParseRow reads old_values or new_values: one JSON object, whose values keep
// their exact text. NULL gives a nil Row. The strings share the memory of one
// copy of text.
func ParseRow(text audit.Text) (Row, error) {
	if text == nil {
		return nil, nil
	}
	p := parser{s: string(text)}
	row, err := p.object()
	if err != nil {
		return nil, fmt.Errorf("read values at byte %d: %w", p.i, err)
	}
	return row, nil
}

// parser reads a JSON object one level deep. encoding/json is not used because
// it replaces bytes that are no UTF-8, which the trail may hold, and because a
// fold reads millions of these.
type parser struct {
	s string
	i int
}

var (
	errSyntax = errors.New("not the JSON object of an entry")
	errEnd    = errors.New("JSON object ends too early")
)

func (p *parser) object() (Row, error) {
	if err := p.expect('{'); err != nil {
		return nil, err
	}
	row := make(Row, 0, 1+strings.Count(p.s, `",`)+strings.Count(p.s, `":`)/2)
	if p.peek() == '}' {
		p.i++
		return row, p.end()
	}
	for {
		f, err := p.field()
		if err != nil {
			return nil, err
		}
		row = append(row, f)
		if p.peek() == ',' {
			p.i++
			continue
		}
		if err := p.expect('}'); err != nil {
			return nil, err
		}
		return row, p.end()
	}
}

func (p *parser) field() (f Field, err error) {
	p.peek()
	if f.Name, err = p.string(); err != nil {
		return f, err
	}
	if err = p.expect(':'); err != nil {
		return f, err
	}
	f.Value, err = p.value()
	return f, err
}

func (p *parser) value() (Value, error) {
	switch c := p.peek(); {
	case c == '"':
		s, err := p.string()
		return Value{String, s}, err
	case c == '{' || c == '[':
		raw, err := p.nested()
		return Value{JSON, raw}, err
	case c == '-' || c >= '0' && c <= '9':
		return Value{Number, p.word("+-.0123456789eE")}, nil
	}
	switch w := p.word("aeflnrstu"); w {
	case "null":
		return Value{Kind: Null}, nil
	case "true", "false":
		return Value{Bool, w}, nil
	}
	return Value{}, errSyntax
}

// word takes the longest run of bytes out of set.
func (p *parser) word(set string) string {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(set, p.s[p.i]) >= 0 {
		p.i++
	}
	return p.s[start:p.i]
}

// nested takes an array or object as it stands.
func (p *parser) nested() (string, error) {
	start, depth := p.i, 0
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			if _, err := p.string(); err != nil {
				return "", err
			}
			continue
		}
		p.i++
		if depth == 0 {
			return p.s[start:p.i], nil
		}
	}
	return "", errEnd
}

// string takes a JSON string; without escapes it costs no copy.
func (p *parser) string() (string, error) {
	if p.i >= len(p.s) || p.s[p.i] != '"' {
		return "", errSyntax
	}
	p.i++
	start := p.i
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case '"':
			p.i++
			return p.s[start : p.i-1], nil
		case '\\':
			return p.escaped(start)
		}
		p.i++
	}
	return "", errEnd
}

// escaped goes on with a string whose first escape stands at p.i.
func (p *parser) escaped(start int) (string, error) {
	buf := append(make([]byte, 0, 2*(p.i-start)+16), p.s[start:p.i]...)
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		if c == '"' {
			return string(buf), nil
		}
		if c != '\\' {
			buf = append(buf, c)
			continue
		}
		if p.i >= len(p.s) {
			break
		}
		e := p.s[p.i]
		p.i++
		if e == 'u' {
			var err error
			if buf, err = p.unicode(buf); err != nil {
				return "", err
			}
			continue
		}
		at := strings.IndexByte(`"\/bfnrt`, e)
		if at < 0 {
			return "", errSyntax
		}
		buf = append(buf, "\"\\/\b\f\n\r\t"[at])
	}
	return "", errEnd
}

// unicode appends what the digits behind \u stand for. A lone surrogate from
// U+DC80 to U+DCFF is how entries hold a byte that is no UTF-8, as a SQL_ASCII
// database can send it.
func (p *parser) unicode(dst []byte) ([]byte, error) {
	r, err := p.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return utf8.AppendRune(dst, r), err
	}
	if r >= 0xdc80 && r <= 0xdcff {
		return append(dst, byte(r)), nil
	}
	back := p.i
	if strings.HasPrefix(p.s[p.i:], `\u`) {
		p.i += 2
		low, err := p.hex4()
		if err != nil {
			return dst, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return utf8.AppendRune(dst, pair), nil
		}
		p.i = back
	}
	return utf8.AppendRune(dst, utf8.RuneError), nil
}

func (p *parser) hex4() (rune, error) {
	if p.i+4 > len(p.s) {
		return 0, errEnd
	}
	n, err := strconv.ParseUint(p.s[p.i:p.i+4], 16, 16)
	if err != nil {
		return 0, errSyntax
	}
	p.i += 4
	return rune(n), nil
}

// peek skips white space and returns the byte behind it, 0 at the end.
func (p *parser) peek() byte {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

func (p *parser) expect(c byte) error {
	if p.peek() != c || p.i >= len(p.s) {
		return errSyntax
	}
	p.i++
	return nil
}

func (p *parser) end() error {
	p.peek()
	if p.i < len(p.s) {
		return errSyntax
	}
	return nil
}
