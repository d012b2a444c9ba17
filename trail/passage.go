package trail

import (
	"context"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// passageText reads what a fold needs of an entry, and no more: a table is
// passed over several times.
const passageText = `SELECT sequence, commit_lsn, xid,
	ifNull(CAST(operation, 'Nullable(String)'), '') AS operation_text, ifNull(CAST(action, 'Nullable(String)'), '') AS action_text,
	ifNull(CAST(resource_type, 'Nullable(String)'), '') AS type_text, ifNull(resource_id, '') AS id_text,
	ifNull(CAST(schema_name, 'Nullable(String)'), '') AS schema_text, ifNull(CAST(table_name, 'Nullable(String)'), '') AS table_text,
	ifNull(old_values, '') AS old_text, ifNull(new_values, '') AS new_text, changed
	FROM audit_logs`

// passage is a block of such entries.
type passage struct {
	sequence, commit proto.ColUInt64
	xid              proto.ColUInt32
	texts            [8]proto.ColStr
	changed          *proto.ColArr[string]
}

func newPassage() *passage {
	return &passage{changed: proto.NewArray(new(proto.ColStr).LowCardinality())}
}

func (p *passage) results() proto.Results {
	results := proto.Results{{Name: "sequence", Data: &p.sequence}, {Name: "commit_lsn", Data: &p.commit}, {Name: "xid", Data: &p.xid}}
	for i, name := range []string{"operation_text", "action_text", "type_text", "id_text", "schema_text", "table_text", "old_text", "new_text"} {
		results = append(results, proto.ResultColumn{Name: name, Data: &p.texts[i]})
	}
	return append(results, proto.ResultColumn{Name: "changed", Data: p.changed})
}

// entry fills e from row i. Its texts are lent. None of them is NULL and "" in
// one trail with different meanings, but for resource_id, which no fold asks.
func (p *passage) entry(i int, e *audit.Entry) {
	*e = audit.Entry{Sequence: p.sequence[i], CommitLSN: audit.LSN(p.commit[i]), XID: p.xid[i]}
	for n, field := range []*audit.Text{&e.Operation, &e.Action, &e.ResourceType, &e.ResourceID, &e.SchemaName, &e.TableName, &e.OldValues, &e.NewValues} {
		if text := p.texts[n].RowBytes(i); len(text) > 0 {
			*field = text
		}
	}
}

// progressEvery is the number of entries between two reports of progress.
const progressEvery = 1 << 14

// changes calls use with the entries that c matches and the review sees, in the
// order of the chain. The entry is lent. It has what passageText reads, without
// the names of changed columns.
func (t *Trail) changes(ctx context.Context, r Review, c conditions, use func(*audit.Entry) error) error {
	p := newPassage()
	var e audit.Entry
	var told uint64
	tell := func(rows uint64) {
		if told += rows; r.Progress != nil && told >= progressEvery {
			r.Progress(told)
			told = 0
		}
	}
	q := query{passageText + c.where() + " ORDER BY stream, sequence SETTINGS optimize_read_in_order = 1, max_block_size = 8192", c.params}
	known := make(openings)
	err := t.receive(ctx, q, p.results(), func() error {
		if err := t.lookInto(ctx, p, known); err != nil {
			return err
		}
		for i := range p.sequence {
			if p.entry(i, &e); e.TableName != nil && r.Sees != nil && !r.Sees(&e) {
				continue
			}
			if t.opener != nil {
				known.open(&e)
			}
			if err := use(&e); err != nil {
				return err
			}
		}
		tell(uint64(len(p.sequence)))
		return nil
	})
	if err == nil && r.Progress != nil {
		r.Progress(told)
	}
	return err
}

// lookInto asks for what the tokens of a block stand for.
func (t *Trail) lookInto(ctx context.Context, p *passage, known openings) error {
	if t.opener == nil {
		return nil
	}
	var wanted []audit.Hash
	var e audit.Entry
	for i := range p.sequence {
		p.entry(i, &e)
		rowTokens(&e, func(hash audit.Hash) { wanted = append(wanted, hash) })
	}
	return t.opener.look(ctx, known, wanted)
}

// sampleRows is the number of entries at either end of a table's that tell its
// key.
const sampleRows = 200

// LearnKey returns the columns that the resource_ids of a table were made of:
// the first candidate that explains them, or what explains them by itself. It
// is empty for a table without a key, whose entries have none; ok is false when
// nothing explains them, as when the key was another one in between.
func (t *Trail) LearnKey(ctx context.Context, r Review, table Table, candidates ...[]string) (key []string, ok bool, err error) {
	var s keySample
	for _, direction := range []string{"", " DESC"} {
		c := r.conditions()
		c.changesOf(table)
		c.parts = append(c.parts, "resource_id IS NOT NULL")
		c.params = append(c.params, store.Param("limit", sampleRows))
		q := query{passageText + c.where() + " ORDER BY stream" + direction + ", sequence" + direction + " LIMIT {limit:UInt64}", c.params}
		p := newPassage()
		var e audit.Entry
		err := t.receive(ctx, q, p.results(), func() error {
			for i := range p.sequence {
				p.entry(i, &e)
				if err := s.add(&e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, false, err
		}
	}
	key, ok = s.key(candidates)
	return key, ok, nil
}

// keySample is some rows with their resource_ids.
type keySample struct {
	rows []Row
	ids  []string
}

func (s *keySample) add(e *audit.Entry) error {
	old, now, err := images(e)
	if err != nil {
		return err
	}
	if now == nil {
		now = old
	}
	s.rows, s.ids = append(s.rows, now), append(s.ids, e.ResourceID.String())
	return nil
}

func (s *keySample) key(candidates [][]string) ([]string, bool) {
	if len(s.rows) == 0 {
		return nil, true
	}
	for _, c := range candidates {
		if len(c) > 0 && s.explainedBy(c) {
			return c, true
		}
	}
	for _, texts := range [][]string{s.ids[:1], splitKey(s.ids[0])} {
		if key := s.search(nil, len(texts)); key != nil {
			return key, true
		}
	}
	return nil, false
}

// search extends key to n columns that explain every id.
func (s *keySample) search(key []string, n int) []string {
	if len(key) == n {
		if s.explainedBy(key) {
			return key
		}
		return nil
	}
	for _, f := range s.rows[0] {
		if !s.fits(f.Name, len(key), n) {
			continue
		}
		if found := s.search(append(key[:len(key):len(key)], f.Name), n); found != nil {
			return found
		}
	}
	return nil
}

// fits reports whether a column can be part place of n of every id.
func (s *keySample) fits(column string, place, n int) bool {
	for i, row := range s.rows {
		v := row.Get(column)
		if !v.Known() || v.Kind == Null {
			return false
		}
		texts := s.ids[i : i+1]
		if n > 1 {
			texts = splitKey(s.ids[i])
		}
		if len(texts) != n || texts[place] != v.Postgres() {
			return false
		}
	}
	return true
}

func (s *keySample) explainedBy(key []string) bool {
	for i, row := range s.rows {
		for _, c := range key {
			if !row.Get(c).Known() {
				return false
			}
		}
		if row.key(key) != s.ids[i] {
			return false
		}
	}
	return true
}
