package trail

import (
	"strconv"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// Style says how a sentence looks. The zero Style is plain text.
type Style struct {
	// Color adds ANSI colours. For terminals only.
	Color bool
	// Explain adds lines below the sentence: who says so, and where in the
	// write-ahead log and in the chain the entry stands.
	Explain bool
	// Stream begins the sentence with the name of the stream.
	Stream bool
	// Fields is the number of columns shown. 0: 6; negative: all.
	Fields int
	// Width is the number of characters shown of one value. 0: 60; negative:
	// all of them.
	Width int
}

func (s Style) fields() int { return limit(s.Fields, 6) }
func (s Style) width() int  { return limit(s.Width, 60) }

// limit is n, or the default for 0, or 0 (no limit) when negative.
func limit(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return max(n, 0)
}

// Colours of the parts of a sentence (ANSI SGR parameters).
const (
	bold   = "1"
	dim    = "2"
	green  = "32"
	red    = "31"
	yellow = "33"
)

// timeLayout is how times are printed; ParseMoment reads it back.
const timeLayout = "2006-01-02 15:04:05.000000 UTC"

// Time renders microseconds since 1970 the way sentences do.
func Time(us int64) string { return time.UnixMicro(us).UTC().Format(timeLayout) }

// Sentence tells an entry in one sentence: when, who, what from what to what,
// from where, and why or that no reason was given. It is one line of printable
// characters (and colours, and the lines of Explain, if the style asks for
// them), whatever the entry holds. It ends without a newline.
func Sentence(e *audit.Entry, style Style) string {
	s := sentence{entry: e, style: style, notes: readNotes(e.Attribution)}
	s.paint(dim, Time(e.Timestamp))
	s.add("  ")
	if style.Stream {
		s.add("[", name(e.Stream, 60), "] ")
	}
	s.who()
	s.add(" ")
	s.what()
	s.where()
	s.why()
	if style.Explain {
		s.explain()
	}
	return s.String()
}

// sentence is one being written.
type sentence struct {
	strings.Builder
	entry *audit.Entry
	style Style
	notes notes
}

func (s *sentence) add(parts ...string) {
	for _, p := range parts {
		s.WriteString(p)
	}
}

func (s *sentence) paint(color, text string) { s.add(s.painted(color, text)) }

func (s *sentence) painted(color, text string) string {
	if !s.style.Color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// who names the actor. The words in parentheses help to recognise him: the
// e-mail, the role at that time, for a machine without a role its type.
func (s *sentence) who() {
	e := s.entry
	if unattributed(e) {
		s.paint(yellow, "somebody unattributed")
		var known []string
		if len(e.DBUser) > 0 {
			known = append(known, "database user "+name(e.DBUser.String(), 60))
		}
		if len(e.ApplicationName) > 0 {
			known = append(known, name(e.ApplicationName.String(), 60))
		}
		if len(known) == 0 && s.notes.bypassed() {
			known = append(known, "no context was recorded")
		}
		s.parenthesis(known)
		return
	}
	id, email, role := e.ActorID.String(), e.ActorEmail.String(), e.ActorRole.String()
	var known []string
	switch {
	case id == "":
		s.paint(bold, name(email, 80))
	case email == id, email == "":
		s.paint(bold, s.called(id))
	case opaque(id):
		s.paint(bold, name(email, 80))
		known = append(known, "id "+name(id, 80))
	default:
		s.paint(bold, s.called(id))
		known = append(known, name(email, 80))
	}
	switch kind := e.ActorType.String(); {
	case role != "":
		known = append(known, name(role, 40))
	case kind != "" && kind != "human":
		known = append(known, name(kind, 40))
	}
	s.parenthesis(known)
}

// called makes a bare number or UUID readable as somebody.
func (s *sentence) called(id string) string {
	switch {
	case !opaque(id):
		return name(id, 80)
	case s.entry.ActorType.String() == "human":
		return "user " + name(id, 80)
	}
	return "actor " + name(id, 80)
}

func (s *sentence) parenthesis(words []string) {
	if len(words) > 0 {
		s.add(" (", strings.Join(words, ", "), ")")
	}
}

// unattributed reports whether nobody but the database user is known.
func unattributed(e *audit.Entry) bool {
	if len(e.ActorID) == 0 && len(e.ActorEmail) == 0 {
		return true
	}
	observed := e.ActorID.String() == "unknown" || strings.HasPrefix(e.ActorID.String(), "db:")
	return observed && (len(e.ActorType) == 0 || e.ActorType.String() == "unknown")
}

// opaque reports whether an id says nothing to a reader: a number or a UUID.
func opaque(id string) bool {
	if _, ok := audit.ParseUUID(id); ok {
		return true
	}
	return strings.Trim(id, "0123456789") == ""
}

// where says the address, the place and the way in.
func (s *sentence) where() {
	e := s.entry
	ip, via := e.IPAddress.String(), e.Source.String()
	if via == "" && !unattributed(e) {
		via = e.ApplicationName.String() // the unattributed have it beside their name
	}
	var place []string
	for _, p := range []audit.Text{e.GeoCity, e.GeoCountry} {
		if len(p) > 0 {
			place = append(place, name(p.String(), 60))
		}
	}
	if ip != "" || len(place) > 0 {
		if ip == "" {
			ip = "an unknown address"
		} else {
			ip = name(ip, 80)
		}
		s.add(", from ", ip)
		s.parenthesis(place)
	} else if via != "" {
		s.add(",")
	}
	if via != "" {
		s.add(" via ", name(via, 60))
	}
}

// why gives the reason. That there is none is said of row changes; a login or
// a heartbeat needs none.
func (s *sentence) why() {
	code, note := s.entry.ReasonCode.String(), s.entry.ReasonNote.String()
	var reason []string
	if code != "" {
		reason = append(reason, name(code, 60))
	}
	if note != "" {
		reason = append(reason, quote(note, limit(s.style.Width, 200)))
	}
	switch {
	case len(reason) > 0:
		s.add(". Reason: ", strings.Join(reason, ", "), ".")
	case s.entry.TableName != nil || s.entry.Operation.String() == "refused":
		s.add(", ")
		s.paint(yellow, "no reason given")
		s.add(".")
	default:
		s.add(".")
	}
}

// count renders n things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// Who names the actor of an entry as its sentence does.
func Who(e *audit.Entry) string {
	s := sentence{entry: e, notes: readNotes(e.Attribution)}
	s.who()
	return s.String()
}
