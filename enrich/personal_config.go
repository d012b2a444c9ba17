package enrich

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Personal says which fields of every entry are personal values of its actor.
type Personal struct {
	// Fields become tokens: actor_email, ip_address, user_agent. Default: none.
	Fields []string `yaml:"fields"`
	// Subject is whose values they are, as it is named when he is erased;
	// {actor_id} stands for the actor. Default: "{actor_id}".
	Subject string `yaml:"subject"`
}

// PersonalColumn says what the values of a column are to the person whom they
// are about.
type PersonalColumn struct {
	// Class is what kind of value it is: email, name, phone, address, … The same
	// value of the same class has one token per subject, wherever it stands.
	Class string `yaml:"class"`
	// Subject is whose value it is, as in customer:{customer_id}, where a column
	// of the row stands in braces. Default: the subject of the table.
	Subject string `yaml:"subject"`
}

// The classes of the fields of an entry.
const (
	classEmail     = "email"
	classIP        = "ip"
	classUserAgent = "user_agent"
	classContext   = "context" // of a text that may hold any of them
)

// personalFields are the fields that can be personal, and their classes.
var personalFields = map[string]string{ // never modified
	"actor_email": classEmail, "ip_address": classIP, "user_agent": classUserAgent,
}

// actorPlace stands for the actor in a Subject of fields.
const actorPlace = "actor_id"

// DefaultActorSubject is the Subject of a Personal that gives none.
const DefaultActorSubject = "{" + actorPlace + "}"

var className = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

func (p Personal) validate(bad func(string, string, ...any)) {
	for i, name := range p.Fields {
		if personalFields[name] == "" {
			bad(fmt.Sprintf("personal.fields[%d]", i), "is %q, want one of %s", name, strings.Join(slices.Sorted(maps.Keys(personalFields)), ", "))
		}
	}
	s, err := parseSubject(p.Subject)
	if err != nil {
		bad("personal.subject", "%v", err)
		return
	}
	for _, name := range s.columns() {
		if name != actorPlace {
			bad("personal.subject", "{%s} is not known here: only {actor_id} is", name)
		}
	}
}

// ValidatePersonal returns what is wrong with the personal columns of a table,
// each problem with its key below the table. secret are those whose values are
// not in the trail at all.
func ValidatePersonal(subject string, columns map[string]PersonalColumn) []error {
	var problems []error
	bad := func(path, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	if _, err := parseSubject(subject); err != nil {
		bad("subject", "%v", err)
	}
	if subject != "" && len(columns) == 0 {
		bad("subject", "names whose the personal columns are, and there are none")
	}
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		c := columns[name]
		if !className.MatchString(c.Class) {
			bad("personal."+name+".class", "%q is not a word of lower-case letters, digits and _, such as email, name, phone, address", c.Class)
		}
		if _, err := parseSubject(c.Subject); err != nil {
			bad("personal."+name+".subject", "%v", err)
		}
	}
	return problems
}

// SubjectColumns lists the columns that a subject such as customer:{customer_id}
// is made of; none for one that cannot be read.
func SubjectColumns(subject string) []string {
	s, err := parseSubject(subject)
	if err != nil {
		return nil
	}
	return s.columns()
}

// subject is a Subject taken apart: literal text, and columns between it.
type subject []subjectPart

type subjectPart struct {
	text   string // before the column
	column string // "": there is none behind the text
}

// parseSubject reads text with column names in braces.
func parseSubject(text string) (subject, error) {
	var s subject
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		if strings.Contains(before, "}") {
			return nil, fmt.Errorf("%q has a } without a {", text)
		}
		if !found {
			return append(s, subjectPart{text: before}), nil
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed || name == "" || strings.Contains(name, "{") {
			return nil, fmt.Errorf("%q has no column between { and }: the form is customer:{customer_id}", text)
		}
		s, rest = append(s, subjectPart{before, name}), behind
	}
	return s, nil
}

func (s subject) columns() []string {
	var names []string
	for _, p := range s {
		if p.column != "" {
			names = append(names, p.column)
		}
	}
	return names
}

// of fills the subject in; value gives the text of the column of a part. A
// value that cannot be had means that nobody knows whose it is. Of several
// columns each is escaped as in a resource_id, so that no two subjects are
// called the same.
func (s subject) of(dst []byte, value func(part int) ([]byte, bool)) (name []byte, ok bool) {
	several := len(s.columns()) > 1
	for i, p := range s {
		dst = append(dst, p.text...)
		if p.column == "" {
			continue
		}
		v, ok := value(i)
		switch {
		case !ok:
			return nil, false
		case several:
			dst = appendComponent(dst, v)
		default:
			dst = append(dst, v...)
		}
	}
	return dst, true
}
