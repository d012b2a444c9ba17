package enrich

import "strings"

// queryEnd is how many characters of a long query a stamp holds of either end.
const queryEnd = 4096

// cutComments finds the comments at the ends of a query whose middle is
// missing. Its beginning is lexed from the first character on. Its end can be
// read backwards, because a query that PostgreSQL has parsed ends in no literal:
// when the last thing in it is */, that closes a comment, unless the line is a
// line comment. cut tells that not everything could be read.
func cutComments(query string, how lexing) (leading, trailing []string, cut bool) {
	head, tail, ok := splitEnds(query)
	if !ok {
		return nil, nil, true
	}
	leading, cut = leadingComments(head)
	trailing, more := trailingComments(tail, how.dashes || strings.Contains(head, "--"))
	return leading, trailing, cut || more
}

// splitEnds splits what a stamp holds of a long query; ok is false when it is
// not made of two ends.
func splitEnds(query string) (head, tail string, ok bool) {
	n := 0
	for i := range query {
		if n == queryEnd {
			head, tail = query[:i], query[i:]
		}
		n++
	}
	return head, tail, n == 2*queryEnd
}

// leadingComments returns the comments before the first token of head. Of one
// that does not end in it, the pairs that are whole are kept.
func leadingComments(head string) (leading []string, cut bool) {
	rest := head
	for {
		rest = strings.TrimLeft(rest, betweenTokens)
		switch {
		case strings.HasPrefix(rest, "--"):
			rest = rest[lineComment(rest):]
		case strings.HasPrefix(rest, "/*"):
			n := blockComment(rest)
			if n == len(rest) && !strings.HasSuffix(rest, "*/") {
				whole := rest[2:max(2, strings.LastIndexByte(rest, ','))]
				return append(leading, whole), true
			}
			leading = append(leading, strings.TrimSuffix(rest[2:n], "*/"))
			rest = rest[n:]
		default:
			return leading, false
		}
	}
}

// trailingComments returns the comments that tail ends in, in their order. A
// comment is not believed when the line it stands in may be a line comment:
// when -- stands before it, or may do so in the part that is missing.
func trailingComments(tail string, dashes bool) (trailing []string, cut bool) {
	rest := tail
	for {
		rest = strings.TrimRight(rest, betweenTokens)
		body, ok := strings.CutSuffix(rest, "*/")
		if !ok {
			return trailing, false
		}
		start := strings.LastIndex(body, "/*")
		if start < 0 || strings.Contains(body[start:], "*/") {
			return trailing, true // it begins in the part that is missing, or comments are nested
		}
		line := body[:start]
		newline := strings.LastIndexByte(line, '\n')
		if strings.Contains(line[newline+1:], "--") || newline < 0 && dashes {
			return trailing, true
		}
		trailing = append([]string{body[start+2:]}, trailing...)
		rest = body[:start]
	}
}
