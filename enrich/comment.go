package enrich

import (
	"net/url"
	"strings"
)

// lexing is what must be known to read a query as PostgreSQL did.
type lexing struct {
	cut         bool // only its first and last queryEnd characters are there
	dashes      bool // what is left out holds --
	backslashes bool // a backslash escapes in plain literals, too
}

// commentPairs returns the key/value pairs of the SQL comments that stand at
// the beginning or at the end of query, in the sqlcommenter convention
// (key='url-encoded',…) or the older one of Rails (key:value,…). Where a key
// occurs twice, the pair nearer to the end of the query comes first. Comments
// in the middle, and whatever looks like a comment inside a string literal,
// are not read. cut tells that a comment was, or may have been, left out in
// part or wholly because the query is too long.
func commentPairs(query string, how lexing) (ps []pair, cut bool) {
	var leading, trailing []string
	if how.cut {
		leading, trailing, cut = cutComments(query, how)
	} else {
		leading, trailing = edgeComments(query, how.backslashes)
	}
	for i := len(trailing) - 1; i >= 0; i-- {
		ps = appendCommentPairs(ps, trailing[i])
	}
	for i := len(leading) - 1; i >= 0; i-- {
		ps = appendCommentPairs(ps, leading[i])
	}
	return ps, cut
}

// edgeComments lexes query as PostgreSQL does and returns the comments before
// its first token and behind its last one.
func edgeComments(query string, backslashes bool) (leading, trailing []string) {
	seenToken := false
	for i := 0; i < len(query); {
		rest := query[i:]
		switch {
		case strings.HasPrefix(rest, "/*"):
			n := blockComment(rest)
			text := strings.TrimSuffix(rest[2:n], "*/")
			if seenToken {
				trailing = append(trailing, text)
			} else {
				leading = append(leading, text)
			}
			i += n
			continue
		case strings.HasPrefix(rest, "--"):
			i += lineComment(rest)
			continue
		case strings.IndexByte(betweenTokens, rest[0]) >= 0:
			i++
			continue
		}
		seenToken, trailing = true, trailing[:0]
		i += token(rest, backslashes)
	}
	return leading, trailing
}

// betweenTokens is white space, and what ends a statement.
const betweenTokens = " \t\n\r\f\v;"

// token is the length of the token that s begins with: a literal, a quoted
// identifier, a word, or one other byte.
func token(s string, backslashes bool) int {
	switch c := s[0]; {
	case c == '\'':
		return quoted(s, '\'', backslashes)
	case c == '"':
		return quoted(s, '"', false)
	case (c == 'e' || c == 'E') && len(s) > 1 && s[1] == '\'':
		return 1 + quoted(s[1:], '\'', true)
	case c == '$':
		return dollarQuoted(s)
	case isWord(c):
		n := 1
		for n < len(s) && (isWord(s[n]) || s[n] == '$') {
			n++
		}
		return n
	}
	return 1
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quoted is the length of the literal that s begins with, to the end of s if
// it is not closed. A doubled quote does not close it.
func quoted(s string, quote byte, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// dollarQuoted is the length of the dollar-quoted literal that s begins with,
// or 1 if the dollar does not begin one ($1).
func dollarQuoted(s string) int {
	n := 1
	for n < len(s) && isWord(s[n]) && !(n == 1 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	if n == len(s) || s[n] != '$' {
		return 1
	}
	tag := s[:n+1]
	if end := strings.Index(s[len(tag):], tag); end >= 0 {
		return len(tag) + end + len(tag)
	}
	return len(s)
}

// blockComment is the length of the comment that s begins with; such comments
// nest.
func blockComment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

func lineComment(s string) int {
	if n := strings.IndexByte(s, '\n'); n >= 0 {
		return n + 1
	}
	return len(s)
}

// appendCommentPairs parses one comment.
func appendCommentPairs(ps []pair, comment string) []pair {
	rest := strings.TrimSpace(comment)
	for rest != "" {
		end := strings.IndexAny(rest, "=:")
		if end <= 0 {
			return ps
		}
		key, sep := strings.TrimSpace(rest[:end]), rest[end]
		var value string
		value, rest = commentValue(rest[end+1:], sep)
		if isKey(key) {
			ps = append(ps, pair{urlDecode(key), urlDecode(value)})
		}
	}
	return ps
}

// commentValue splits off the value in front of s, and the comma behind it.
func commentValue(s string, sep byte) (value, rest string) {
	if sep == ':' || !strings.HasPrefix(s, "'") {
		value, rest, _ = strings.Cut(s, ",")
		return strings.TrimSpace(value), rest
	}
	n := quoted(s, '\'', true)
	value = strings.TrimSuffix(s[1:n], "'")
	_, rest, _ = strings.Cut(s[n:], ",")
	return strings.ReplaceAll(value, `\'`, "'"), rest
}

func isKey(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isWord(c) && c != '-' && c != '.' && c != '%' {
			return false
		}
	}
	return s != ""
}

// urlDecode undoes percent-encoding. A plus sign stays one (sqlcommenter
// encodes as encodeURIComponent does), and %% stands for % (frameworks double
// it for their own formatting). What cannot be decoded is kept as it is.
func urlDecode(s string) string {
	d, err := url.PathUnescape(strings.ReplaceAll(s, "%%", "%"))
	if err != nil {
		return s
	}
	return d
}
