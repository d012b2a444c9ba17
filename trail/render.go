package trail

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/pgwitness/pgwitness/audit"
)

// nothing is how NULL reads. Text is quoted, so that it differs from the word.
const nothing = "nothing"

// render writes a value for reading, at most width characters of it (0: all).
// Text stands in quotes; numbers, times and UUIDs, which the trail holds as
// text too, do not need them.
func render(v Value, width int) string {
	switch v.Kind {
	case Unknown:
		return "unknown"
	case Null:
		return nothing
	case Bool, Number:
		return escape(v.Text, 0, false)
	case JSON:
		return escape(v.Text, width, false)
	}
	if token, ok := pseudonym(v.Text); ok {
		return token
	}
	if plain(v.Text) || document(v.Text) {
		return escape(v.Text, width, false)
	}
	return quote(v.Text, width)
}

// pair renders the two values of a change. Of long texts that differ in a few
// characters it shows the surroundings of these, not twice the same beginning.
func pair(before, after Value, width int) (string, string) {
	a, b := []rune(before.Text), []rune(after.Text)
	long := width > 0 && (len(a) > width || len(b) > width)
	if !long || before.Kind != String || after.Kind != String || !utf8.ValidString(before.Text) || !utf8.ValidString(after.Text) {
		return render(before, width), render(after, width)
	}
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	const lead = 12
	if same <= width/2 {
		return render(before, width), render(after, width)
	}
	tail := func(text []rune) string { return `"…` + escape(string(text[same-lead:]), width, true) + `"` }
	return tail(a), tail(b)
}

// plain reports whether s can be nothing but a number, a time, an interval of
// them, or a UUID.
func plain(s string) bool {
	if _, ok := audit.ParseUUID(s); ok {
		return true
	}
	if s == "" || len(s) > 80 || strings.Count(s, " ") > 1 || strings.Trim(s, "0123456789.:+-e ") != "" {
		return false
	}
	first, last := s[0], s[len(s)-1]
	return digit(last) && (digit(first) || first == '-' && len(s) > 1 && digit(s[1]))
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// document reports whether s is a JSON array or object, which shows its own
// ends.
func document(s string) bool {
	return len(s) > 1 && (s[0] == '{' || s[0] == '[') && utf8.ValidString(s) && json.Valid([]byte(s))
}
