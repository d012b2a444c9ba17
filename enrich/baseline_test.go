package enrich

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgwitness/pgwitness/audit"
)

// A model of PostgreSQL: transactions that lock what they write, whose commit
// is in the log some time before a snapshot sees it, and a reader of chunks.
// However all of that is interleaved, the fold of the entries is the table.
func TestBaselineModel(t *testing.T) {
	for _, m := range []struct {
		name        string
		full, keyed bool
	}{{"replica identity full", true, true}, {"replica identity default", false, true}, {"no key", true, false}} {
		t.Run(m.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { newModel(t, m.full, m.keyed).check() })
		})
	}
}

// modelRow is a row; big is a TOASTed value.
type modelRow struct{ id, v, big string }

// modelTx has written; committed: into the log; left: snapshots see it.
type modelTx struct {
	xid       uint32
	ops       []modelOp
	committed bool
	left      bool
}

// modelOp takes old away and puts now in its place; neither means TRUNCATE.
type modelOp struct{ old, now *modelRow }

type model struct {
	t           *rapid.T
	full, keyed bool
	relation    *audit.Relation
	enricher    *Enricher

	origin  []modelRow // before everything
	txs     []*modelTx // in the order of their begin
	commits []*modelTx // in the order of their commits
	log     []audit.Tx // not read yet
	lsn     audit.LSN
	xid     uint32
	entries []audit.Entry

	id      byte // of the chunk
	outcome <-chan audit.Outcome
	read    bool // the chunk was
	chunk   *audit.Chunk
	after   string // last key that is done
	done    bool
	retries int
}

func newModel(t *rapid.T, full, keyed bool) *model {
	e, err := New("test", Config{}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{t: t, full: full, keyed: keyed, enricher: e, xid: 100}
	identity := byte('d')
	if full {
		identity = 'f'
	}
	m.relation = &audit.Relation{ID: 9, Schema: "public", Name: "things", Identity: identity,
		Columns: []audit.Column{{Name: "id", TypeOID: 25, InIdentity: true}, {Name: "v", TypeOID: 25, InIdentity: full}, {Name: "big", TypeOID: 25, InIdentity: full}}}
	if keyed {
		m.relation.Key = []int{0}
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "rows") {
		m.origin = append(m.origin, modelRow{m.name(i), "old", "big"})
	}
	e.Baseline().Follow()
	return m
}

// name is the key of a row; without a key rows are often alike.
func (m *model) name(i int) string {
	if m.keyed {
		return fmt.Sprintf("%02d", i)
	}
	return strconv.Itoa(i % 2)
}

func (m *model) check() {
	m.t.Repeat(map[string]func(*rapid.T){
		"begin":   func(*rapid.T) { m.begin() },
		"commit":  func(t *rapid.T) { m.commit() },
		"leave":   func(t *rapid.T) { m.leave() },
		"read":    func(t *rapid.T) { m.consume(1 + rapid.IntRange(0, 3).Draw(t, "n")) },
		"chunk":   func(t *rapid.T) { m.stepChunk() },
		"chunk 2": func(t *rapid.T) { m.stepChunk() },
	})
	for _, tx := range m.txs {
		if tx.committed {
			tx.left = true
		}
	}
	for range 100 {
		if m.done {
			break
		}
		m.stepChunk()
		m.consume(len(m.log))
	}
	m.consume(len(m.log))
	if !m.done {
		m.t.Fatal("the baseline does not end")
	}
	m.compare()
}

// rows is the table after the transactions that pass.
func (m *model) rows(passes func(*modelTx) bool) []modelRow {
	rows := slices.Clone(m.origin)
	for _, tx := range m.commits {
		if !passes(tx) {
			continue
		}
		for _, op := range tx.ops {
			if op.old == nil && op.now == nil {
				rows = nil
			}
			if op.old != nil {
				i := slices.Index(rows, *op.old)
				rows = slices.Delete(rows, i, i+1)
			}
			if op.now != nil {
				rows = append(rows, *op.now)
			}
		}
	}
	slices.SortFunc(rows, func(a, b modelRow) int { return strings.Compare(a.id, b.id) })
	return rows
}

// locked are the rows and keys that a transaction has written whom snapshots do
// not see yet; all is a TRUNCATE among them.
func (m *model) locked() (ids map[string]bool, all bool) {
	ids = make(map[string]bool)
	for _, tx := range m.txs {
		for _, op := range tx.ops {
			if tx.left {
				continue
			}
			all = all || op.old == nil && op.now == nil
			for _, r := range []*modelRow{op.old, op.now} {
				if r != nil {
					ids[r.id] = true
				}
			}
		}
	}
	return ids, all
}

// begin begins a transaction and draws all that it will do.
func (m *model) begin() {
	locked, all := m.locked()
	tx := &modelTx{xid: m.xid}
	m.xid++
	mine := slices.DeleteFunc(m.rows(func(tx *modelTx) bool { return tx.left }), func(r modelRow) bool { return locked[r.id] })
	for range rapid.IntRange(0, 3).Draw(m.t, "ops") {
		if all {
			break
		}
		m.draw(tx, &mine, locked)
	}
	m.txs = append(m.txs, tx)
}

// draw adds something to what tx does; mine are the rows that it may change.
func (m *model) draw(tx *modelTx, mine *[]modelRow, locked map[string]bool) {
	now := modelRow{m.name(rapid.IntRange(0, 9).Draw(m.t, "id")), "v" + strconv.Itoa(int(tx.xid)), "big" + strconv.Itoa(len(tx.ops))}
	free := !locked[now.id] && (!m.keyed || !slices.ContainsFunc(*mine, func(r modelRow) bool { return r.id == now.id }))
	kind := rapid.SampledFrom([]string{"insert", "update", "update", "rekey", "delete", "truncate"}).Draw(m.t, "kind")
	if kind == "truncate" {
		if len(locked) == 0 && rapid.IntRange(0, 3).Draw(m.t, "really") == 0 {
			tx.ops, *mine = append(tx.ops, modelOp{}), nil
		}
		return
	}
	if kind == "insert" {
		if free {
			tx.ops, *mine = append(tx.ops, modelOp{now: &now}), append(*mine, now)
		}
		return
	}
	if len(*mine) == 0 {
		return
	}
	i := rapid.IntRange(0, len(*mine)-1).Draw(m.t, "which")
	old := (*mine)[i]
	*mine = slices.Delete(slices.Clone(*mine), i, i+1)
	op := modelOp{old: &old}
	switch {
	case kind == "delete":
	case kind == "rekey" && free:
		op.now = &modelRow{now.id, old.v, now.big}
		if m.full { // else the log would not hold the large value at all
			op.now.big = old.big
		}
	default:
		op.now = &modelRow{old.id, now.v, old.big} // the large value stays
	}
	if op.now != nil {
		*mine = append(*mine, *op.now)
	}
	tx.ops = append(tx.ops, op)
}

// some draws one of the transactions that pass.
func (m *model) some(passes func(*modelTx) bool) *modelTx {
	list := slices.DeleteFunc(slices.Clone(m.txs), func(tx *modelTx) bool { return !passes(tx) })
	if len(list) == 0 {
		return nil
	}
	return rapid.SampledFrom(list).Draw(m.t, "tx")
}

func (m *model) commit() {
	tx := m.some(func(tx *modelTx) bool { return !tx.committed })
	if tx == nil {
		return
	}
	tx.committed = true
	m.commits = append(m.commits, tx)
	var changes []audit.Change
	for _, op := range tx.ops {
		changes = append(changes, m.change(op))
	}
	m.write(tx.xid, changes...)
}

func (m *model) leave() {
	if tx := m.some(func(tx *modelTx) bool { return tx.committed && !tx.left }); tx != nil {
		tx.left = true
	}
}

func (m *model) change(op modelOp) audit.Change {
	c := audit.Change{Relation: m.relation}
	switch {
	case op.old == nil && op.now == nil:
		c.Op = audit.Truncate
	case op.old == nil:
		c.Op, c.New = audit.Insert, op.now.tuple()
	case op.now == nil:
		c.Op, c.Old = audit.Delete, op.old.tuple()
	default:
		c.Op, c.Old, c.New = audit.Update, op.old.tuple(), op.now.tuple()
		if op.now.big == op.old.big {
			c.New[2] = audit.Value{Kind: audit.Unchanged}
		}
		if !m.full && op.old.id == op.now.id {
			c.Old = nil
		}
	}
	c.OldWhole = m.full && c.Old != nil
	if !m.full && c.Old != nil {
		c.Old = audit.Tuple{c.Old[0], {Kind: audit.Null}, {Kind: audit.Null}}
	}
	return c
}

func (r *modelRow) tuple() audit.Tuple { return row(r.id, r.v, r.big) }

// write appends a transaction to the log.
func (m *model) write(xid uint32, changes ...audit.Change) {
	m.lsn += 10
	m.log = append(m.log, audit.Tx{XID: xid, CommitLSN: m.lsn, EndLSN: m.lsn + 5, CommitTime: int64(m.lsn), First: true, Last: true, Changes: changes})
}

func (m *model) consume(n int) {
	n = min(n, len(m.log))
	for i := range m.log[:n] {
		m.entries = m.enricher.Append(m.entries, &m.log[i], 0)
	}
	m.log = m.log[n:]
}

// stepChunk does the next step of the reader.
func (m *model) stepChunk() {
	switch {
	case m.done:
	case m.outcome == nil:
		m.id++
		m.outcome = m.enricher.Baseline().Expect(audit.ChunkID{m.id}, m.relation.ID, m.key())
		m.mark("low")
		m.read = false
	case !m.read:
		m.chunk = m.readChunk()
		m.enricher.Baseline().Hand(m.chunk)
		m.mark("high")
		m.read = true
	default:
		select {
		case o := <-m.outcome:
			m.settle(o)
		default:
		}
	}
}

func (m *model) key() []string {
	if m.keyed {
		return []string{"id"}
	}
	return nil
}

const modelChunk = 2

func (m *model) settle(o audit.Outcome) {
	m.outcome = nil
	if !o.Made {
		if m.retries++; m.retries > 1000 {
			m.t.Fatalf("read again and again: %s", o.Why)
		}
		return
	}
	if !m.keyed || len(m.chunk.Rows) < modelChunk {
		m.done = true
		return
	}
	m.after = string(m.chunk.Rows[len(m.chunk.Rows)-1][0].Data)
}

func (m *model) mark(kind string) {
	c := logical(message(testKey, kindMark, fmt.Sprintf(`{"b":%q,"id":%q}`, kind, audit.ChunkID{m.id})))
	c.Message.Transactional = kind == "high"
	m.xid++
	m.write(m.xid-1, c)
}

func (m *model) readChunk() *audit.Chunk {
	c := &audit.Chunk{ID: audit.ChunkID{m.id}, Relation: m.relation, Restart: !m.keyed}
	c.Snapshot = audit.Snapshot{Min: uint64(m.xid), Max: uint64(m.xid)}
	for _, tx := range m.txs {
		if !tx.left {
			c.Snapshot.Running = append(c.Snapshot.Running, uint64(tx.xid))
			c.Snapshot.Min = min(c.Snapshot.Min, uint64(tx.xid))
		}
	}
	for _, r := range m.rows(func(tx *modelTx) bool { return tx.left }) {
		if m.keyed && r.id <= m.after && m.after != "" || m.keyed && len(c.Rows) == modelChunk {
			continue
		}
		c.Rows = append(c.Rows, r.tuple())
	}
	return c
}

// A chunk into which a command on its table fell is read again: its rows may be
// of before the command, and their entries would come behind it.
func TestAlterationSpoilsTheChunk(t *testing.T) {
	f := func(name string, by ddl, between, want bool) {
		t.Helper()
		var d Desk
		d.Follow()
		done := d.Expect(audit.ChunkID{1}, 7, []string{"id"})
		if !between {
			d.altered(&by)
		}
		d.low(audit.ChunkID{1})
		if between {
			d.altered(&by)
		}
		d.Hand(&audit.Chunk{ID: audit.ChunkID{1}, Relation: &audit.Relation{ID: 7}})
		if w := d.high(audit.ChunkID{1}); (w != nil) != want {
			t.Errorf("%s: the chunk is used: %t", name, w != nil)
		}
		if !want {
			if o := <-done; o.Made || o.Why == "" {
				t.Errorf("%s: outcome %+v", name, o)
			}
		}
	}
	altered := func(relation uint32) ddl { return ddl{Altered: []alteration{{After: tableLook{OID: relation}}}} }
	f("another table", altered(8), true, true)
	f("its table", altered(7), true, false)
	f("its table, before the low mark", altered(7), false, true)
	f("another table dropped", ddl{Gone: []uint32{6, 8}}, true, true)
	f("its table dropped", ddl{Gone: []uint32{6, 7}}, true, false)
}
