package verify

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/pgwitness/pgwitness/audit"
)

// maxGaps is the number of declared gaps that are listed.
const maxGaps = 1000

// Gap is a stretch of the log that was not seen, or of which parts may not have
// been seen, as an entry of the chain declares it.
type Gap struct {
	Sequence uint64 `json:"sequence"` // of the entry
	Cause    string `json:"cause"`    // slot_missing, slot_advanced, …; publication_edited
	What     string `json:"what"`     // one sentence
	// After is the sequence behind which the entries are of another stretch of
	// the log: there, and nowhere else, positions may go back. Nil for a gap
	// that begins with the chain, and for an edit of the publication.
	After    *uint64 `json:"after_sequence,omitempty"`
	From     string  `json:"from,omitempty"` // position up to which the log was stored
	To       string  `json:"to,omitempty"`   // position from which it was read on
	FromTime string  `json:"from_time,omitempty"`
	ToTime   string  `json:"to_time,omitempty"`
	Operator string  `json:"operator,omitempty"` // who accepted it
	Reason   string  `json:"reason,omitempty"`
	DBUser   string  `json:"db_user,omitempty"` // as whom he was connected
}

// The actions of the entries that declare gaps.
const (
	actionGap                = "gap"
	actionPublicationChanged = "publication_changed"
)

// declares reports whether an entry may declare a gap.
func declares(e *audit.Entry) bool {
	return string(e.Operation) == "event" && mayDeclare(e.Action)
}

// gapOf reads the gap that an entry declares; ok is false when it declares
// none. What the details do not say stays empty.
func gapOf(e *audit.Entry) (g Gap, ok bool) {
	switch resource := string(e.ResourceType); {
	case string(e.Action) == actionGap && resource == "pgwitness.stream":
		if json.Unmarshal(e.NewValues, &g) != nil {
			g = Gap{Cause: "unreadable", What: "the details of the entry cannot be read"}
		}
	case string(e.Action) == actionPublicationChanged && resource == "pgwitness.publication":
		if g, ok = publicationGap(e); !ok {
			return Gap{}, false
		}
	default:
		return Gap{}, false
	}
	g.Sequence, g.Reason, g.DBUser = e.Sequence, string(e.ReasonNote), string(e.DBUser)
	return g, true
}

// publicationGap is the gap of an edit of the publication that may have hidden
// changes.
func publicationGap(e *audit.Entry) (Gap, bool) {
	var d struct {
		Publication string `json:"publication"`
		Edits       []struct {
			Table  string `json:"table"`
			What   string `json:"what"`
			Hidden bool   `json:"changes_may_be_missing"`
		} `json:"edits"`
		Since  string `json:"since"`
		Found  string `json:"found"`
		Hidden bool   `json:"changes_may_be_missing"`
	}
	if json.Unmarshal(e.NewValues, &d) != nil || !d.Hidden {
		return Gap{}, false
	}
	var edits []string
	for _, edit := range d.Edits {
		if edit.Hidden {
			edits = append(edits, strings.TrimPrefix(edit.Table+": "+edit.What, ": "))
		}
	}
	what := fmt.Sprintf("the publication %s was edited (%s): changes may be missing", d.Publication, strings.Join(edits, "; "))
	return Gap{Cause: "publication_edited", What: what, FromTime: d.Since, ToTime: d.Found}, true
}

// declared remembers the gap that e declares, if it does.
func (f *findings) declared(e *audit.Entry) {
	if g, ok := gapOf(e); ok && len(f.gaps) < maxGaps {
		f.gaps = append(f.gaps, g)
	}
}

// excuse takes out of the findings the steps back that a declared gap explains:
// each explains the one behind the sequence that it names.
func (f *findings) excuse() {
	for _, g := range f.gaps {
		kept := f.completeness.kept[:0]
		excused := false
		for _, finding := range f.completeness.kept {
			if !excused && g.After != nil && finding.Kind == OutOfOrder && finding.Sequence == *g.After+1 {
				excused = true
				f.completeness.total--
				continue
			}
			kept = append(kept, finding)
		}
		f.completeness.kept = kept
	}
}

// gapNote says how many gaps are declared, for the verdict.
func gapNote(gaps []Gap) string {
	switch len(gaps) {
	case 0:
		return ""
	case 1:
		return "but for 1 declared gap"
	}
	return fmt.Sprintf("but for %d declared gaps", len(gaps))
}

func (g *Gap) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "  gap declared at sequence %d: %s: %s\n", g.Sequence, printable(g.Cause), printable(g.What))
	if g.From != "" {
		fmt.Fprintf(b, "    from %s to %s\n", printable(g.From), printable(g.To))
	}
	if g.ToTime != "" {
		fmt.Fprintf(b, "    between %s and %s\n", printable(g.FromTime), printable(g.ToTime))
	}
	if g.Operator != "" {
		fmt.Fprintf(b, "    accepted by %s, database user %s: %s\n", printable(g.Operator), printable(g.DBUser), printable(g.Reason))
	}
}

// printable makes text that somebody else wrote safe for a terminal; nothing
// reads as unknown.
func printable(s string) string {
	if s == "" {
		return "unknown"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
