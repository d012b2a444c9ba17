package trail

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// explain adds what an investigator asks next: how each fact is known, and
// where the entry stands in the chain and in the write-ahead log.
func (s *sentence) explain() {
	s.provenance()
	s.client()
	s.position()
}

func (s *sentence) line(parts ...string) {
	s.add("\n    ")
	s.paint(dim, strings.Join(parts, ""))
}

// provenance groups the fields by the source they were taken from, in the
// order in which the attribution names them.
func (s *sentence) provenance() {
	var sources []string
	fields := make(map[string][]string)
	for _, f := range s.notes.row {
		source := f.Value.Text
		if f.Value.Kind != String || !isSource(source) || source == "none" {
			continue
		}
		if fields[source] == nil {
			sources = append(sources, source)
		}
		fields[source] = append(fields[source], word(f.Name))
	}
	if len(sources) == 0 {
		s.line("Who says so: nobody; the change came without a context")
	} else {
		parts := make([]string, len(sources))
		for i, source := range sources {
			parts[i] = sourceWords(source) + " (" + strings.Join(fields[source], ", ") + ")"
		}
		s.line("Who says so: ", strings.Join(parts, "; "))
	}
	for _, f := range s.notes.row {
		if f.Value.Kind != String || !isSource(f.Value.Text) {
			s.line("Note: ", word(f.Name), ": ", escape(f.Value.Text, limit(s.style.Width, 200), false))
		}
	}
}

// isSource tells the provenance of a field from other notes of the attribution.
func isSource(s string) bool {
	kind, _, _ := strings.Cut(s, ":")
	return slices.Contains([]string{"session", "comment", "preset", "row", "rule", "directory", "application_name", "observed", "inferred", "none"}, kind)
}

// sourceWords says in words who stands behind a source.
func sourceWords(source string) string {
	kind, detail, _ := strings.Cut(source, ":")
	switch kind {
	case "session":
		return "the application, in its session variables"
	case "comment":
		return "the application, in a comment of the SQL statement"
	case "preset":
		return "the framework " + name(detail, 60) + ", in its session variables"
	case "row":
		if detail != "" {
			return "the application, in a row of " + name(detail, 60) + " that it wrote in the same transaction"
		}
		return "the row itself"
	case "directory":
		return "the users table, as it was at that moment"
	case "application_name":
		return "the pooler, in the application name"
	case "inferred":
		return "inferred from the form of the id"
	case "rule":
		return "the configured rule " + name(detail, 60)
	}
	return "PostgreSQL itself"
}

// client names the request and the program, as far as they are known.
func (s *sentence) client() {
	e := s.entry
	var parts []string
	for _, f := range []struct {
		label string
		text  audit.Text
	}{
		{"request", e.RequestID}, {"trace", e.TraceID}, {"API key", e.APIKeyID},
		{"database user", e.DBUser}, {"application", e.ApplicationName}, {"program", agent(e.UserAgent)}, {"client", e.UserAgent},
	} {
		if len(f.text) > 0 {
			parts = append(parts, f.label+" "+name(f.text.String(), limit(s.style.Width, 120)))
		}
	}
	if len(parts) > 0 {
		s.line("Came with: ", strings.Join(parts, ", "))
	}
}

func (s *sentence) position() {
	e := s.entry
	s.line("On record as: ", name(e.Stream, 60), " #", strconv.FormatUint(e.Sequence, 10), ", entry ", e.ID.String())
	act := name(e.Operation.String(), 20)
	if e.TableName != nil {
		act += " of " + word(e.SchemaName.String()+"."+e.TableName.String())
	}
	s.line("In the database: ", act, ", transaction ", strconv.FormatUint(uint64(e.XID), 10), ", committed at ", e.Position().String())
}
