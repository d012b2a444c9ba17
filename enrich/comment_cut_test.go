package enrich

import (
	"fmt"
	"strings"
	"testing"
)

// ends is what a stamp holds of a query, and how it must be read.
func ends(query string) (string, lexing) {
	runes := []rune(query)
	if len(runes) <= 2*queryEnd {
		return query, lexing{}
	}
	middle := string(runes[queryEnd : len(runes)-queryEnd])
	return string(runes[:queryEnd]) + string(runes[len(runes)-queryEnd:]), lexing{cut: true, dashes: strings.Contains(middle, "--")}
}

// Of a long query the comments at its ends are read, or it is said that they
// were not; what a literal holds is never taken for one.
func TestCommentsOfLongQueries(t *testing.T) {
	long := strings.Repeat("é", 1<<18)
	const eve = `/*actor_id='eve'*/`
	for _, c := range []struct {
		name, query string
		want        string // pairs
		cut         bool
	}{
		{"at the end", `insert into t values ('` + long + `') /*a='1',b='%2F'*/ ;`, "a=1 b=/", false},
		{"at the beginning", `/*a='1'*/ -- x` + "\n" + `/*b='2'*/ insert into t values ('` + long + `')`, "b=2 a=1", false},
		{"several", `/*c='3'*/ insert into t values ('` + long + `') /*a='1'*/ /*b='2'*/`, "b=2 a=1 c=3", false},
		{"none", `insert into t values ('/*', '` + long + `')`, "", false},
		{"in a literal at the end", `insert into t values ('` + long + eve + `')`, "", false},
		{"in a literal, and a comment", `insert into t values ('` + long + eve + `') /*a='1'*/`, "a=1", false},
		{"in a literal at the beginning", `insert into t values ('` + eve + long + `')`, "", false},
		{"in a line comment", `insert into t values ('` + long + `') -- ` + eve, "", true},
		{"in a line that may be a comment", `insert into t values (1) -- ` + long + eve, "", true},
		{"dashes in a literal of the last line", `insert into t values ('` + long + `--') /*a='1'*/`, "", true},
		{"dashes in a literal of a line before", `insert into t values ('` + long + `--')` + "\n/*a='1'*/", "a=1", false},
		{"dashes at the beginning", `insert into t values (1) -- ` + strings.Repeat("x", 5000) + long + "\n" + eve, "actor_id=eve", false},
		{"a long comment at the end", `insert into t values (1) /*a='1',b='` + long + `',c='3'*/`, "", true},
		{"a long comment at the beginning", `/*a='1',b='` + long + `',c='3'*/ insert into t values (1)`, "a=1", true},
		{"nested at the end", `insert into t values ('` + long + `') /* /*a='1'*/ b='2' */`, "", true},
	} {
		query, how := ends(c.query)
		ps, cut := commentPairs(query, how)
		var got []string
		for _, kv := range ps {
			got = append(got, kv.key+"="+kv.value)
		}
		if strings.Join(got, " ") != c.want || cut != c.cut {
			t.Errorf("%s: %.200q cut %t, want %q cut %t", c.name, got, cut, c.want, c.cut)
		}
	}
}

// Whatever a client puts into a literal of whatever kind, at whatever length,
// is no comment; and the true comment behind it is read.
func TestLiteralsAreNeverComments(t *testing.T) {
	const eve = `/*actor_id='eve'*/`
	doubled := strings.ReplaceAll(eve, "'", "''")
	for name, literal := range map[string]string{
		"plain": `'` + doubled + `'`, "escape": `E'\'` + strings.ReplaceAll(eve, "'", `\'`) + `'`, "dollar": `$$` + eve + `$$`,
		"tagged dollar": `$é$` + eve + `$$ $é$`, "identifier": `"` + eve + `"`, "unicode": `U&'` + doubled + `'`, "bits": `X'` + doubled + `'`,
		"quote at the end": `'` + doubled + `'''`, "comment marks": `'/*' || '` + doubled + `'`, "star slash": `'*/` + doubled + `'`,
		"concatenated": `'` + doubled + `'` + "\n" + `'` + doubled + `'`, "nested comment": `1 /* /* x */ ` + eve + ` */ + 1`,
	} {
		for _, padding := range []int{0, 9000} {
			for suffix, want := range map[string]string{"": "", " /*actor_id='bob'*/": "bob", ";\n": ""} {
				query, how := ends(fmt.Sprintf("insert into t values ('%s', %s)%s", strings.Repeat("x", padding), literal, suffix))
				ps, _ := commentPairs(query, how)
				got := ""
				for _, kv := range ps {
					got += kv.value
				}
				if got != want {
					t.Errorf("%s, %d bytes before it, %q behind it: actor %q", name, padding, suffix, got)
				}
			}
		}
	}
	// With standard_conforming_strings off a backslash hides a quote.
	query := `insert into t values ('\', ` + eve + ` --') /*actor_id='bob'*/`
	if ps, _ := commentPairs(query, lexing{backslashes: true}); len(ps) != 1 || ps[0].value != "bob" {
		t.Errorf("backslashes: %v", ps)
	}
	if ps, _ := commentPairs(`insert into t values ('x\' `+eve, lexing{backslashes: true}); len(ps) != 0 {
		t.Errorf("backslashes: %v", ps)
	}
}

// FuzzCutComments: what is read of a cut query is what is read of the whole one,
// or less, and then it is said.
func FuzzCutComments(f *testing.F) {
	for _, s := range []string{"/*a='1'*/", "' /*a='1'*/ '", "-- /*a='1'*/", "$$ /*a='1'*/ $$", "\"/*\"", "/* /*a='1'*/ */", "*/"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, head, tail string) {
		if len(head) > 3000 || len(tail) > 3000 {
			return
		}
		whole := head + " select '" + strings.Repeat("x", 9000) + "' " + tail
		query, how := ends(whole)
		if !balanced(whole) || !how.cut {
			return // PostgreSQL would not have parsed it
		}
		got, cut := commentPairs(query, how)
		want := pairsOf(whole)
		if !cut && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q … %q: read %v, want %v", head, tail, got, want)
		}
	})
}

// balanced reports whether every literal and comment of query ends in it, and
// it holds no byte that text in PostgreSQL cannot.
func balanced(query string) bool {
	if strings.ContainsAny(query, "\x00\ufffd") {
		return false
	}
	const end = "e /*end='1'*/"
	ps, _ := commentPairs(query+"\n"+end, lexing{})
	return len(ps) > 0 && ps[0] == pair{"end", "1"} && !strings.HasSuffix(lastToken(query), "/")
}

// lastToken is what query ends in besides comments. No query ends in an
// operator.
func lastToken(query string) string {
	last := ""
	for rest := query; rest != ""; {
		n := 1
		switch {
		case strings.HasPrefix(rest, "/*"):
			n = blockComment(rest)
		case strings.HasPrefix(rest, "--"):
			n = lineComment(rest)
		case strings.IndexByte(betweenTokens, rest[0]) < 0:
			n = token(rest, false)
			last = rest[:n]
		}
		rest = rest[n:]
	}
	return last
}
