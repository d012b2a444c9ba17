package enrich

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/pgwitness/pgwitness/audit"
)

// mark is the payload of a message of the baseline: a mark of a chunk, or
// something that is to be an entry, such as that a table is done.
type mark struct {
	Mark    string          `json:"b"`  // low, high or note
	ID      string          `json:"id"` // of the chunk
	XID     uint64          `json:"x"`  // of the transaction of a note
	Action  string          `json:"action"`
	Schema  string          `json:"schema"`
	Table   string          `json:"table"`
	Details json.RawMessage `json:"details"`

	chunk audit.ChunkID
}

// The marks.
const (
	markLow  = "low"
	markHigh = "high"
	markNote = "note"
)

// baselineResource is the resource_type of notes.
const baselineResource = "pgwitness.baseline"

// fromSelf is the source of what pgwitness does itself: a rule that is built in.
const fromSelf = "rule:pgwitness"

// ownContext is who acts where pgwitness itself does.
func ownContext(r *rules) *context {
	a := newAttribution()
	a.personal = r.personal
	a.take(actorID, "system:pgwitness", fromSelf)
	a.take(actorType, "system", fromSelf)
	a.take(sourceName, "pgwitness", fromSelf)
	return a.context(nil, r)
}

// openMark decodes a mark. A note is bound to its transaction; the id of a chunk
// is good once.
func openMark(body []byte, tx *audit.Tx, transactional bool) (*mark, error) {
	m := new(mark)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("decode mark: %w", err)
	}
	switch m.Mark {
	case markNote:
		if !transactional {
			return nil, fmt.Errorf("%w: a note outside of its transaction", errForged)
		}
		return m, boundTo(m.XID, tx.XID)
	case markLow, markHigh:
		if n, err := hex.Decode(m.chunk[:], []byte(m.ID)); err != nil || n != len(m.chunk) {
			return nil, fmt.Errorf("decode mark: %q is no chunk", m.ID)
		}
		return m, nil
	}
	return nil, fmt.Errorf("a mark %q is not known to this version", m.Mark)
}

// appendMark handles a mark. One whose chunk is not at the desk is of an
// earlier process, or delivered again: what became of it is settled.
func (e *Enricher) appendMark(dst []audit.Entry, tx *audit.Tx, m *mark) []audit.Entry {
	switch {
	case m.Mark == markNote:
		return e.appendNote(dst, tx, m)
	case !e.manned:
	case m.Mark == markLow:
		e.desk.low(m.chunk)
	default:
		if w := e.desk.high(m.chunk); w != nil {
			return e.appendChunk(dst, tx, w)
		}
	}
	return dst
}

// appendNote makes the entry of a note.
func (e *Enricher) appendNote(dst []audit.Entry, tx *audit.Tx, m *mark) []audit.Entry {
	dst, n := e.beginOwn(dst, tx, m.Schema, m.Table)
	n.Operation, n.Action = audit.T("event"), audit.T(m.Action)
	n.ResourceType, n.ResourceID = audit.T(baselineResource), audit.T(m.Schema+"."+m.Table)
	if len(m.Details) > 0 {
		n.NewValues = e.arena.save(m.Details)
	}
	return dst
}

func (e *Enricher) beginOwn(dst []audit.Entry, tx *audit.Tx, schema, table string) ([]audit.Entry, *audit.Entry) {
	dst, n := e.begin(dst, e.own, tx)
	n.SchemaName, n.TableName = audit.T(schema), audit.T(table)
	n.Attribution = e.own.attribution
	e.stats.BySource[e.own.who]++
	return dst, n
}

// appendChunk makes the entries of a chunk, in the order of its rows. They
// belong to one transaction, the high mark's, and so are stored together or not
// at all.
func (e *Enricher) appendChunk(dst []audit.Entry, tx *audit.Tx, w *window) []audit.Entry {
	if w.outdated() {
		w.spoil("the table was altered meanwhile")
	}
	var rows []image
	if w.spoiled == "" {
		rows = w.result()
	}
	if w.spoiled != "" {
		w.done <- audit.Outcome{Why: w.spoiled}
		return dst
	}
	start := len(dst)
	if w.chunk.Restart {
		r := w.chunk.Relation
		dst = e.appendNote(dst, tx, &mark{Action: "baseline_started", Schema: r.Schema, Table: r.Name, Details: json.RawMessage(`{"rows_before":"replaced"}`)})
	}
	var p *plan
	for i := range rows {
		if p == nil || p.relation != rows[i].relation {
			p = newPlan(rows[i].relation, e.rules)
		}
		dst = e.appendExisting(dst, tx, p, rows[i].row)
	}
	w.done <- audit.Outcome{Made: true, Entries: len(dst) - start, Position: tx.CommitLSN}
	return dst
}

// appendExisting makes the entry of a row that was there.
func (e *Enricher) appendExisting(dst []audit.Entry, tx *audit.Tx, p *plan, row audit.Tuple) []audit.Entry {
	dst, n := e.begin(dst, e.own, tx)
	c := audit.Change{Op: audit.Insert, Relation: p.relation, New: row}
	n.ResourceType, n.ResourceID = p.resourceType, e.resourceID(p, &c)
	n.SchemaName, n.TableName = p.schema, p.table
	n.Operation, n.Action = words.baseline, words.baseline
	n.NewValues = e.image(p, row, nil)
	ns := notes{personalID: p.personalKey && n.ResourceID != nil}
	for i, v := range row {
		if v.Kind == audit.Unchanged && i < len(p.columns) {
			ns.unknown = append(ns.unknown, p.columns[i].name)
		}
	}
	n.Attribution = e.attribution(e.own, ns)
	e.stats.BySource[e.own.who]++
	return dst
}
