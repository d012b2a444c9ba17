package verify

import (
	"bytes"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// special finds, in a block, the entries of which more must be looked at than
// what is hashed: to take each one apart would cost as much as to hash it. It may
// name an entry too many, and never one too few.
type special struct {
	attribution, oldValues, newValues, action store.Marks
}

// find looks at a block.
func (s *special) find(block *store.Columns) {
	s.attribution = block.MarkAttribution(tellsOfTokens)
	s.oldValues = block.MarkOldValues(mayHoldToken)
	s.newValues = block.MarkNewValues(mayHoldToken)
	s.action = block.MarkAction(mayDeclare)
}

// tokensAt reports whether entry i may hold tokens, see openings.take.
func (s *special) tokensAt(i int) bool {
	return s.attribution.At(i) || s.oldValues.At(i) || s.newValues.At(i)
}

// gapAt reports whether entry i may declare a gap.
func (s *special) gapAt(i int) bool { return s.action.At(i) }

// tellsOfTokens reports whether there may be tokens in attribution itself, or in
// columns that hold one only where attribution says so.
func tellsOfTokens(attribution audit.Text) bool {
	return bytes.Contains(attribution, []byte(`"personal`)) || mayHoldToken(attribution)
}

func mayHoldToken(text audit.Text) bool { return audit.MayHoldToken(text) }

func mayDeclare(action audit.Text) bool {
	return string(action) == actionGap || string(action) == actionPublicationChanged
}
