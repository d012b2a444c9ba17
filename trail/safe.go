package trail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Every text of an entry may have been chosen by an attacker: a value with a
// terminal escape sequence, a right-to-left override, or a name that reads
// like the rest of a sentence. The functions of this file are the only way
// from an entry into a sentence. What they return consists of printable
// characters only, and cannot be mistaken for the words around it.

// quote returns s in double quotes, on one line, cut to width runes (no cut
// when width is 0). A quote or backslash inside is escaped, everything that
// is not printable is written as an escape.
func quote(s string, width int) string {
	return `"` + escape(s, width, true) + `"`
}

// escape returns s with everything unprintable made visible. The cut is a
// single … at the end. In quoted text, quote and backslash are escaped.
func escape(s string, width int, quoted bool) string {
	var b strings.Builder
	for n := 0; len(s) > 0; n++ {
		if width > 0 && n == width {
			b.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			appendEscape(&b, 'x', rune(s[0]), 2)
		case quoted && (r == '"' || r == '\\'):
			b.WriteByte('\\')
			b.WriteRune(r)
		case printable(r):
			b.WriteRune(r)
		default:
			escapeRune(&b, r)
		}
		s = s[size:]
	}
	return b.String()
}

func escapeRune(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == '\t':
		b.WriteString(`\t`)
	case r > 0xffff:
		appendEscape(b, 'U', r, 8)
	default:
		appendEscape(b, 'u', r, 4)
	}
}

// appendEscape writes \ letter and the lowest digits of r in hexadecimal.
func appendEscape(b *strings.Builder, letter byte, r rune, digits int) {
	b.WriteByte('\\')
	b.WriteByte(letter)
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b.WriteByte("0123456789abcdef"[r>>shift&0xf])
	}
}

// printable reports whether r shows as itself: neither a control or format
// character (which includes everything bidirectional and of zero width), nor
// a space other than U+0020, nor a letter that shows as nothing.
func printable(r rune) bool {
	switch r {
	case 0x115f, 0x1160, 0x2800, 0x3164, 0xffa0: // Hangul fillers, empty Braille
		return false
	}
	return unicode.IsPrint(r)
}

// name returns a text that stands for somebody or something in a sentence: bare
// when it cannot be taken for anything else, in quotes otherwise.
func name(s string, width int) string {
	if token, ok := pseudonym(s); ok {
		return token
	}
	if bare(s, 2) && (width <= 0 || utf8.RuneCountInString(s) <= width) {
		return s
	}
	return quote(s, width)
}

// bare reports whether s is made of letters, digits and the punctuation of
// identifiers, paths and addresses, with at most so many single spaces.
func bare(s string, spaces int) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	prev := ' '
	for _, r := range s {
		if r == ' ' {
			if spaces--; spaces < 0 || prev == ' ' {
				return false
			}
		} else if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) &&
			!strings.ContainsRune(`._-:/@%+'#&=~*$`, r) || !printable(r) {
			return false
		}
		prev = r
	}
	return prev != ' ' && !strings.HasSuffix(s, ":") && !strings.HasSuffix(s, ".")
}

// pseudonym shortens the token of a personal value, pii:<64 hex>, to the part
// that tells people apart.
func pseudonym(s string) (string, bool) {
	const prefix, digits, shown = "pii:", 64, 8
	if len(s) != len(prefix)+digits || !strings.HasPrefix(s, prefix) {
		return "", false
	}
	if strings.Trim(s[len(prefix):], "0123456789abcdef") != "" {
		return "", false
	}
	return s[:len(prefix)+shown] + "…", true
}
