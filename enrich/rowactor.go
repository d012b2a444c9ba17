package enrich

import (
	"bytes"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// fromRow is the source of what a column of the row says, such as updated_by.
const fromRow = "row"

// rowClaims is what the columns of a row say about the change that wrote it.
type rowClaims struct {
	actor, reason string
	activity      activity // of the activity rows of its transaction
}

// rowColumns are the indexes of those columns; -1 where there is none.
type rowColumns struct{ actor, reason int }

func (t Table) rowColumns(r *audit.Relation) rowColumns {
	return rowColumns{columnIndex(r, t.ActorColumn), columnIndex(r, t.ReasonColumn)}
}

// columnIndex finds a column; -1 if there is none, or no name.
func columnIndex(r *audit.Relation, name string) int {
	if name == "" {
		return -1
	}
	return slices.IndexFunc(r.Columns, func(c audit.Column) bool { return c.Name == name })
}

// rowContext is ctx with what the row itself says about its writer. A column
// that an update left as it was says who wrote it once, not who does now:
// it names nobody.
func (e *Enricher) rowContext(ctx *context, p *plan, c *audit.Change) *context {
	said := rowClaims{actor: writtenNow(c, p.row.actor), reason: writtenNow(c, p.row.reason), activity: e.tx.activity}
	if ctx.who < ActorFromRow {
		said.actor = "" // somebody more trusted said it
	}
	if ctx.template.ReasonCode != nil {
		said.reason = ""
	}
	if said == (rowClaims{}) {
		return ctx
	}
	if derived := ctx.rows[said]; derived != nil {
		return derived
	}
	derived := newContext(ctx.payload, e.rules, said)
	if ctx.rows == nil || len(ctx.rows) >= maxRowContexts {
		ctx.rows = make(map[rowClaims]*context)
	}
	ctx.rows[said] = derived
	return derived
}

// maxRowContexts bounds what is remembered for one stamp; beyond it all is
// forgotten, which costs one more resolving each.
const maxRowContexts = 256

// writtenNow is the text of column i if c wrote it: an insert, or an update of
// which the log shows that it changed it.
func writtenNow(c *audit.Change, i int) string {
	if i < 0 || i >= len(c.New) || c.New[i].Kind != audit.Literal {
		return ""
	}
	switch c.Op {
	case audit.Insert:
		return string(c.New[i].Data)
	case audit.Update:
		if !c.OldWhole || i >= len(c.Old) {
			return ""
		}
		if c.Old[i].Kind == audit.Literal && bytes.Equal(c.Old[i].Data, c.New[i].Data) {
			return ""
		}
		return string(c.New[i].Data)
	}
	return ""
}
