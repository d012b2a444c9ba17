package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// TokenTag is hashed in front of every personal value: format and version.
const TokenTag = "pgwitness/token/v1"

// TokenPrefix begins every token of a personal value; 64 lower-case hexadecimal
// digits follow it.
const TokenPrefix = "pii:"

// TokenSize is the length of a token in bytes.
const TokenSize = len(TokenPrefix) + 2*sha256.Size

// SubjectKey is the random key of a data subject. Without it nobody can tell
// which value a token stands for, not even by guessing.
type SubjectKey [32]byte

// Tokenizer makes tokens. It holds the memory that one takes to make, and
// belongs to one goroutine.
type Tokenizer struct{ preimage []byte }

// Token is the hash in the token of a personal value, as docs/chain-format.md
// lays it down: SHA256(key || ns(tag) || ns(class) || ns(value)).
func (t *Tokenizer) Token(key *SubjectKey, class string, value []byte) Hash {
	b := append(t.preimage[:0], key[:]...)
	b = AppendNetstring(b, TokenTag)
	b = AppendNetstring(b, class)
	b = AppendNetstring(b, value)
	t.preimage = b
	return sha256.Sum256(b)
}

// AppendToken appends the text of a token.
func AppendToken(dst []byte, hash Hash) []byte {
	return hex.AppendEncode(append(dst, TokenPrefix...), hash[:])
}

// ParseToken reads the text of a token; ok is false when text is something else.
func ParseToken[T ~string | ~[]byte](text T) (hash Hash, ok bool) {
	if len(text) != TokenSize || string(text[:len(TokenPrefix)]) != TokenPrefix {
		return hash, false
	}
	for i := len(TokenPrefix); i < len(text); i++ {
		if !hexadecimal(text[i]) {
			return hash, false
		}
	}
	_, err := hex.Decode(hash[:], []byte(text[len(TokenPrefix):]))
	return hash, err == nil
}

// Blank is a place in an entry that waits for the token of a personal value.
// Whoever has the keys of the subjects fills it in before the entry is sealed.
type Blank struct {
	At       []byte // TokenSize bytes
	Class    string
	Subject  string // whose value it is
	Value    []byte // its text
	Position Position
}

// tokenIntro is how a token begins as the value of a member of a JSON object.
// Within a string every quote stands behind a backslash, so that nothing that
// anybody writes into a value reads like it.
const tokenIntro = `":"` + TokenPrefix

// NextToken finds the first token among the values of old_values or new_values
// of a changed row, from byte from on. at is where its text begins, and column
// the name, in JSON, of the column that it is the value of; at is -1 when there
// is none.
//
// A value that is no token and has the form of one is written with its first
// letter escaped.
func NextToken(row []byte, from int) (hash Hash, column []byte, at int) {
	for from < len(row) {
		i := bytes.Index(row[from:], []byte(tokenIntro))
		if i < 0 {
			break
		}
		begin := from + i + len(tokenIntro) - len(TokenPrefix)
		end := begin + TokenSize
		if end < len(row) && row[end] == '"' {
			if h, ok := ParseToken(row[begin:end]); ok {
				return h, columnBefore(row[:from+i]), begin
			}
		}
		from = begin
	}
	return hash, nil, -1
}

// MayHoldToken reports whether there may be a token in text that NextToken would
// find; where it says no, there is none. It looks at one byte of every 64, since
// the digits of a token cannot hide between two of them, and takes a fraction of
// the time.
func MayHoldToken(text []byte) bool {
	const digits = TokenSize - len(TokenPrefix)
	for i := TokenSize - 1; i < len(text); i += digits {
		from := i + 1 // the first digit of those that end here
		for from > 0 && i-from < digits && hexadecimal(text[from-1]) {
			from--
		}
		if from <= i && bytes.HasSuffix(text[:from], []byte(TokenPrefix)) {
			return true
		}
	}
	return false
}

// hexadecimal reports whether c is a digit as tokens have them.
func hexadecimal(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// columnBefore is the name whose closing quote follows row.
func columnBefore(row []byte) []byte {
	for i := len(row) - 1; i >= 0; i-- {
		if row[i] != '"' {
			continue
		}
		slashes := 0
		for slashes < i && row[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return row[i+1:]
		}
	}
	return row
}
