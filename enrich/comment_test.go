package enrich

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommentPairs(t *testing.T) {
	for _, c := range []struct {
		name, query string
		want        []pair
	}{
		{"at the end", `select 1 /*a='1',b='2'*/`, []pair{{"a", "1"}, {"b", "2"}}},
		{"at the beginning", `/*a='1'*/ select 1`, []pair{{"a", "1"}}},
		{"behind the semicolon", "select 1; /*a='1'*/ ;\n", []pair{{"a", "1"}}},
		{"the one nearer to the end comes first", `/*a='1'*/ select 1 /*a='2'*/ /*a='3'*/`, []pair{{"a", "3"}, {"a", "2"}, {"a", "1"}}},
		{"not in the middle", `select /*a='1'*/ 1`, nil},
		{"not in a literal", `insert into t values ('/* actor_id=''eve'' */')`, nil},
		{"not in a literal at the end", `select '/* a=''1'' */'`, nil},
		{"not in an escape literal", `select E'\'/* a=''1'' */'`, nil},
		{"not in a dollar literal", `select $q$ /*a='1'*/ $q$`, nil},
		{"not in an identifier", `select "/*a='1'*/"`, nil},
		{"not in a line comment", "select 1 -- /*a='1'*/", nil},
		{"nested", `select 1 /* /* x='1' */ */`, nil},
		{"parameters are no dollar quotes", `select $1, $2 /*a='1'*/`, []pair{{"a", "1"}}},
		{"url encoding", `select 1 /*route='%2Fcart%2F%3Aid',q='a+b',d='a%%3Ab'*/`, []pair{{"route", "/cart/:id"}, {"q", "a+b"}, {"d", "a:b"}}},
		{"escaped quotes", `select 1 /*a='it\'s'*/`, []pair{{"a", "it's"}}},
		{"rails", `select 1 /*application:Shop,controller:orders*/`, []pair{{"application", "Shop"}, {"controller", "orders"}}},
		{"not a pair", `select 1 /* just words */`, nil},
		{"an open comment", `select 1 /*a='1'`, []pair{{"a", "1"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, pairsOf(c.query), cmp.AllowUnexported(pair{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func pairsOf(query string) []pair {
	ps, _ := commentPairs(query, lexing{})
	return ps
}

// Whatever the client sends, reading its comments ends and does not fail.
func FuzzCommentPairs(f *testing.F) {
	for _, q := range []string{"", "/*", "*/", "'", `E'\`, "$a$", "$", "select 1 /*a='1'*/", "/*/**/", "--", "/*a=*/", "/*a='%zz'*/"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		for _, kv := range pairsOf(q) {
			if kv.key == "" {
				t.Errorf("empty key in %q", q)
			}
		}
	})
}

// JSON that this room writes can be read by anyone, and gives valid text back.
func FuzzAppendJSONString(f *testing.F) {
	for _, s := range []string{"", "a\x00b", "\xff", "é😀", `"\`, "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendJSONString(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%q became %s: %v", s, b, err)
		}
		if string([]rune(s)) == s && back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}
