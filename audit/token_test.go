package audit

import (
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
