package enrich

import (
	"regexp"
	"strings"
)

// mask stands where something was that must not be in the trail.
const mask = "'***'"

// maxNesting is how deep bodies within bodies are read; what lies deeper is
// masked as a whole.
const maxNesting = 4

// secretName matches the names of options, settings and arguments whose value
// is a secret, or holds one.
var secretName = regexp.MustCompile(`(?i)pass|pwd|secret|token|credential|key|connection|conninfo`)

// secretLiteral matches literals that may hold a secret although nothing before
// them says so: connection strings, JSON, commands.
var secretLiteral = regexp.MustCompile(`(?i)pass|pwd|secret|token|credential|api.?key|access.?key|private.?key|://[^/\s]*@`)

// redact makes the text of a statement fit to be kept for ever: comments go, and
// so does every literal that is a password or may hold one. tag is the command
// that was run. Of the other statements of the same text (a client may send
// several, or call a function that runs the command) no literal is kept at all.
// names are those of secret columns.
//
// Where the text cannot be read with certainty, because it was cut or because a
// backslash may or may not escape a quote, the rest is masked. A secret that
// nothing marks as one stays: DEFAULT 'hunter2'.
func redact(statement, tag string, names map[string]bool) string {
	verb, _, _ := strings.Cut(tag, " ")
	if verb == "SELECT" { // SELECT INTO, and any call of a function, too
		verb = ""
	}
	r := redactor{verb: verb, names: names}
	r.text(statement)
	return strings.TrimSpace(r.String())
}

// redactor writes the tokens of a text that may be kept.
type redactor struct {
	strings.Builder
	verb     string          // of the command
	names    map[string]bool // of secret columns, too
	depth    int             // of bodies within bodies
	strict   bool            // no literal of this statement is kept
	always   bool            // nor of any other
	begun    bool            // the statement has a first word
	name     string          // the last word, in lower case
	secretly bool            // a word since the last comma, bracket or semicolon names a secret
	assigned bool            // = stands behind it
	masked   bool            // the last token was a literal that was masked
	literal  bool            // the last token was a literal
	foreign  bool            // a body is in a language that is not SQL's
}

// text redacts a whole text, statement by statement.
func (r *redactor) text(s string) {
	r.foreign = foreignBody(s)
	for s != "" {
		n, done := r.token(s)
		if done {
			r.WriteString(" " + mask + " …")
			return
		}
		s = s[n:]
	}
}

// token handles the token that s begins with and returns its length; done says
// that the rest cannot be read.
func (r *redactor) token(s string) (n int, done bool) {
	if strings.HasPrefix(s, "/*") || strings.HasPrefix(s, "--") || strings.IndexByte(" \t\n\r\f\v", s[0]) >= 0 {
		if text := r.String(); text != "" && !strings.HasSuffix(text, " ") {
			r.WriteByte(' ')
		}
		switch {
		case s[0] == '/':
			return blockComment(s), false
		case s[0] == '-':
			return lineComment(s), false
		}
		return 1, false
	}
	if p := literalPrefix(s); p >= 0 {
		return r.quotedText(s, p)
	}
	switch c := s[0]; {
	case c == '"':
		return r.identifier(s)
	case c == '$':
		if n := dollarQuoted(s); n > 1 {
			return n, r.body(s[:n])
		}
	case isWord(c):
		for n < len(s) && (isWord(s[n]) || s[n] == '$') {
			n++
		}
		r.word(s[:n])
		return n, false
	}
	r.punctuation(s[0])
	return 1, false
}

// literalPrefix is the length of what may stand before the quote of a literal
// that s begins with, -1 if it begins with none.
func literalPrefix(s string) int {
	for _, p := range []string{"", "e", "b", "x", "n", "u&"} {
		if len(s) > len(p) && strings.EqualFold(s[:len(p)], p) && s[len(p)] == '\'' {
			return len(p)
		}
	}
	return -1
}

// quotedText handles a literal in single quotes.
func (r *redactor) quotedText(s string, prefix int) (n int, done bool) {
	escapes := prefix == 1 && (s[0] == 'e' || s[0] == 'E')
	n = prefix + quoted(s[prefix:], '\'', escapes)
	text := s[:n]
	closed := len(text) > prefix+1 && strings.HasSuffix(text, "'")
	if !closed || !escapes && strings.Contains(text, `\'`) {
		return n, true
	}
	r.keep(text, r.secret() || secretLiteral.MatchString(text))
	return n, false
}

// secret reports whether the literal at hand is one: for its name, or because
// it goes on with one that is (literals on consecutive lines are one).
func (r *redactor) secret() bool {
	if r.strict || r.always || r.literal {
		return r.strict || r.always || r.masked
	}
	return r.isSecret(r.name) || r.secretly && (r.assigned || r.name == "default")
}

// isSecret reports whether what is called so is a secret.
func (r *redactor) isSecret(name string) bool {
	return secretName.MatchString(name) || r.names[unquoted(name)]
}

func (r *redactor) keep(text string, hide bool) {
	if hide {
		text = mask
	}
	r.WriteString(text)
	r.begun, r.literal, r.masked, r.assigned = true, true, hide, false
}

// body handles a literal in dollar quotes: SQL in it is redacted in its turn.
func (r *redactor) body(s string) (done bool) {
	tag := s[:strings.IndexByte(s[1:], '$')+2]
	if len(s) < 2*len(tag) || !strings.HasSuffix(s, tag) {
		return true
	}
	hide := r.foreign || r.depth == maxNesting || !r.strict && r.secret() || r.strict && r.name != "do"
	if hide {
		r.keep("", true)
		return false
	}
	inner := redactor{verb: r.verb, names: r.names, depth: r.depth + 1, always: r.strict || r.always}
	inner.text(s[len(tag) : len(s)-len(tag)])
	r.keep(tag+strings.TrimSpace(inner.String())+tag, false)
	return false
}

// identifier handles a name in double quotes; behind an = it may be a value.
func (r *redactor) identifier(s string) (n int, done bool) {
	n = quoted(s, '"', false)
	if n < 2 || s[n-1] != '"' {
		return n, true
	}
	if r.assigned && r.isSecret(r.name) {
		r.keep("", true)
		return n, false
	}
	r.word(s[:n])
	return n, false
}

func (r *redactor) word(w string) {
	if r.assigned && r.isSecret(r.name) {
		r.keep("", true)
		return
	}
	if !r.begun {
		r.begun, r.strict = true, r.depth == 0 && !strings.EqualFold(w, r.verb)
	}
	r.WriteString(w)
	// SET secret TO 'x', and OPTIONS (ADD password 'x'), are named by the word before.
	if !strings.EqualFold(w, "to") {
		r.name = strings.ToLower(w)
		r.secretly = r.secretly || r.isSecret(strings.ToLower(w))
	}
	r.literal, r.masked, r.assigned = false, false, false
}

func (r *redactor) punctuation(c byte) {
	r.WriteByte(c)
	switch c {
	case '=':
		r.assigned = true
	case ':', '>', '.':
	case ';':
		r.begun, r.strict, r.name, r.assigned, r.secretly = false, false, "", false, false
	case '(':
		r.secretly = false
	default:
		r.name, r.assigned, r.secretly = "", false, false
	}
	r.literal, r.masked = false, false
}

// bodyLanguage matches the language of a function or block, and its name.
var bodyLanguage = regexp.MustCompile(`(?i)\blanguage\s+['"]?([a-z0-9_]+)`)

// foreignBody reports whether s names a language whose quotes are not SQL's.
func foreignBody(s string) bool {
	for _, m := range bodyLanguage.FindAllStringSubmatch(s, -1) {
		if l := strings.ToLower(m[1]); l != "sql" && l != "plpgsql" {
			return true
		}
	}
	return false
}
