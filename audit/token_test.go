package audit

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	key := SubjectKey{1, 2, 3}
	var tok Tokenizer
	token := tok.Token(&key, "email", []byte("alice@example.com"))
	text := AppendToken([]byte("x"), token)[1:]
	if back, ok := ParseToken(text); !ok || back != token || len(text) != TokenSize {
		t.Errorf("%s is read as %s, %t", text, back, ok)
	}
	for what, other := range map[string]Hash{
		"value": tok.Token(&key, "email", []byte("bob@example.com")), "class": tok.Token(&key, "emai", []byte("lalice@example.com")),
		"key": tok.Token(&SubjectKey{1}, "email", []byte("alice@example.com")),
	} {
		if other == token {
			t.Errorf("another %s has the same token", what)
		}
	}
	for _, no := range []string{"", string(text[1:]), strings.ToUpper(string(text)), "pii:" + strings.Repeat("g", 64), string(text) + "0"} {
		if _, ok := ParseToken(no); ok {
			t.Errorf("%q passes for a token", no)
		}
	}
}

func TestNextToken(t *testing.T) {
	zero, one := "pii:"+strings.Repeat("0", 64), "pii:"+strings.Repeat("1", 64)
	for row, want := range map[string]string{
		`{}`: "", `{"a":"` + zero + `","b":1,"c":"` + one + `"}`: "a" + zero + "c" + one,
		`{"a":"x\":\"` + zero + `"}`: "", `{"a":"\u0070` + zero[1:] + `"}`: "", `{"a":"` + zero + `x"}`: "",
		`{"a":"` + zero[:67] + `","b":"` + one + `"}`: "b" + one,
		`{"q\"\\\"":"` + one + `"}`:                   `q\"\\\"` + one, `{"o":{"host":"` + one + `"}}`: "host" + one,
		`{"a":"` + zero: "",
	} {
		got := ""
		for from := 0; ; {
			hash, column, at := NextToken([]byte(row), from)
			if at < 0 {
				break
			}
			got += string(column) + string(AppendToken(nil, hash))
			from = at + TokenSize
		}
		if got != want {
			t.Errorf("%s: found %s, want %s", row, got, want)
		}
	}
}

// A token is never overlooked, wherever it stands and whatever is around it, and
// what has no token is nearly always known to have none.
func TestMayHoldToken(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []byte(`0123456789abcdef0123456789abcdef"":{},piIz \` + "\x00\xff")
	text := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		return b
	}
	var tok Tokenizer
	for range 20_000 {
		before, after := text(random.IntN(200)), text(random.IntN(200))
		token := AppendToken(nil, tok.Token(&SubjectKey{}, "email", before))
		with := bytes.Join([][]byte{before, []byte(`":"`), token, []byte(`"`), after}, nil)
		if !MayHoldToken(with) {
			t.Fatalf("the token in %q is overlooked", with)
		}
		if !MayHoldToken(token) {
			t.Fatalf("%q is overlooked", token)
		}
		without := append(before, after...)
		if _, _, at := NextToken(without, 0); at < 0 && MayHoldToken(without) {
			t.Fatalf("%q is taken for a holder of tokens", without)
		}
	}
	digits := strings.Repeat("0", 64)
	for text, want := range map[string]bool{
		"": false, "pii:": false, digits: false, strings.Repeat(digits, 100): false,
		"pii:" + digits[1:]: false, "pii:" + digits: true, "pii:" + digits[1:] + `"` + digits: false,
		strings.Repeat("x", 1000) + "pii:" + digits: true, strings.Repeat(digits, 3) + "pii:" + digits + "x": true,
	} {
		if got := MayHoldToken([]byte(text)); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}
