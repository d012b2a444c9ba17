package test

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
)

const workloadConfig = `streams:
  - name: workload
    postgres: {dsn: "${SHOP_DSN}"}
    watch_interval: 2s
    baseline: {enabled: true}
    tables: [{name: "*.*"}]
    exclude: [workload.known]
`

// workload is a database in which anything at all may be done to tables, beside
// a sidecar and PostgreSQL's own decoding as the second opinion.
type workload struct {
	t  testing.TB
	pg *harness.PG
	s  *sidecar

	stumbled int // interruptions of the stream
}

// newWorkload prepares the database and starts the sidecar.
func newWorkload(t testing.TB, pg *harness.PG, ch *harness.CH) *workload {
	t.Helper()
	w := &workload{t: t, pg: pg}
	pg.Exec(w.script("history.sql"))
	w.s = newSidecar(t, pg, ch, workloadConfig)
	pg.Exec("SELECT pg_create_logical_replication_slot('second_opinion', 'pgoutput')")
	w.s.start()
	return w
}

func (w *workload) script(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/workload", name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// life is a table from its CREATE on, whatever its name is.
type life struct {
	relation uint32
	schema   string
	table    string
	key      []string // its primary key at the end
	fold     *trail.Fold
	baseline uint64 // sequence of the last entry baseline_started
	lost     int    // commands that gave it values that are in no log, as their entries say
}

func (l *life) name() string { return l.schema + "." + l.table }

// verdict is the outcome for one table.
type verdict struct {
	*life
	compared trail.Comparison
	breaks   trail.Breaks
	err      error // the table could not be compared
}

func (v *verdict) exact() bool { return v.err == nil && v.compared.Exact() && v.breaks.Count == 0 }

// declared reports whether what is not exact is what the trail says itself that it
// does not know.
func (v *verdict) declared() bool {
	c := v.compared
	return v.err == nil && v.breaks.Count == 0 && c.Different == 0 && c.Extra == 0 && (c.Missing == 0 || !v.fold.Complete())
}

func (v *verdict) String() string {
	if v.err != nil {
		return v.err.Error()
	}
	text := v.compared.String()
	if len(v.compared.First) > 0 {
		text += "; first: " + v.compared.First[0].String()
	}
	if v.breaks.Count > 0 {
		text += fmt.Sprintf("; %d breaks, first: %+v", v.breaks.Count, v.breaks.First[0])
	}
	return text
}

// compare folds every table that is there by now, over all its lives' names,
// and compares it with the table as it is.
func (w *workload) compare() []*verdict {
	w.t.Helper()
	ctx := context.Background()
	conn := w.pg.Connect()
	defer conn.Close(ctx)
	var verdicts []*verdict
	err := trail.Snapshot(ctx, conn, func(tx pgx.Tx) error {
		lives, err := w.present(ctx, tx)
		if err != nil {
			return err
		}
		w.replay(lives)
		for _, relation := range slices.Sorted(maps.Keys(lives)) {
			v := &verdict{life: lives[relation]}
			v.breaks = v.fold.Breaks()
			live, err := trail.ReadLive(ctx, tx, v.schema, v.table)
			if err == nil {
				v.compared, err = v.fold.Compare(live)
			}
			v.err = err
			verdicts = append(verdicts, v)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return verdicts
}

// present lists the tables that are there and published, those without columns
// left out.
func (w *workload) present(ctx context.Context, tx pgx.Tx) (map[uint32]*life, error) {
	rows, err := tx.Query(ctx, `SELECT relation, schema, name FROM workload.present
		WHERE EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped)
		  AND EXISTS (SELECT FROM pg_publication_tables AS p WHERE p.pubname = 'pgwitness_workload' AND (p.schemaname, p.tablename) = (schema, name))`)
	if err != nil {
		return nil, err
	}
	lives := make(map[uint32]*life)
	var l life
	_, err = pgx.ForEachRow(rows, []any{&l.relation, &l.schema, &l.table}, func() error {
		found := l
		lives[l.relation] = &found
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, l := range lives {
		if l.key, err = trail.LiveKey(ctx, tx, l.schema, l.table); err != nil {
			return nil, err
		}
	}
	return lives, nil
}

// replay folds the trail. A table whose key is younger than its rows is folded
// from its last baseline on, which tells of all of them, in a second run.
func (w *workload) replay(lives map[uint32]*life) {
	w.t.Helper()
	for _, l := range lives {
		l.fold = trail.NewFold("workload", strconv.Itoa(int(l.relation)), l.key)
	}
	again := make(map[uint32]*life)
	w.replayInto(lives, again, false)
	for relation, l := range again {
		l.fold, l.lost = trail.NewFold("workload", strconv.Itoa(int(relation)), l.key), 0
	}
	if len(again) > 0 {
		failed := make(map[uint32]*life)
		w.replayInto(again, failed, true)
		for _, l := range failed {
			w.t.Errorf("%s cannot be folded, neither from its beginning nor from its baseline", l.name())
		}
	}
}

// chronicle is a run through the trail: who had which name at that point.
type chronicle struct {
	lives   map[uint32]*life
	failed  map[uint32]*life // whose entries do not fit their key
	names   map[string]uint32
	waiting map[string][]*audit.Entry // of a table that the history has not told of yet
	late    bool                      // a table begins with its last baseline
}

func (w *workload) replayInto(lives, failed map[uint32]*life, late bool) {
	w.t.Helper()
	server, err := w.s.cfg.ClickHouse.Reader()
	if err != nil {
		w.t.Fatal(err)
	}
	c := chronicle{lives: lives, failed: failed, names: map[string]uint32{}, waiting: map[string][]*audit.Entry{}, late: late}
	for e, err := range trail.New(server).Entries(context.Background(), trail.Filter{Stream: "workload", Limit: -1}) {
		if err != nil {
			w.t.Fatal(err)
		}
		name := e.SchemaName.String() + "." + e.TableName.String()
		switch operation := e.Operation.String(); {
		case name == "workload.history" && operation == "insert":
			if err := c.step(e); err != nil {
				w.t.Fatal(err)
			}
		case name == "workload.history": // its baseline
		case operation == "ddl":
			if err := c.redefined(e); err != nil {
				w.t.Fatal(err)
			}
		case e.ResourceType.String() == "pgwitness.baseline":
			c.note(name, e)
		case slices.Contains([]string{"insert", "update", "delete", "truncate", "baseline"}, operation):
			c.change(name, e)
		}
	}
	for name, entries := range c.waiting {
		w.t.Errorf("%d entries of %s, which does not exist at that point", len(entries), name)
	}
}

// change applies an entry to the table that has that name by now.
func (c *chronicle) change(name string, e *audit.Entry) {
	relation, ok := c.names[name]
	if !ok && strings.HasPrefix(name, "pg_catalog.") {
		return // a table that was moved there; the history does not look there
	}
	if !ok {
		kept := store.Clone(e)
		c.waiting[name] = append(c.waiting[name], &kept)
		return
	}
	if l := c.lives[relation]; l != nil {
		c.apply(l, *e)
	}
}

// apply applies an entry to a table, under the name that its fold has.
func (c *chronicle) apply(l *life, e audit.Entry) {
	if c.failed[l.relation] != nil || c.late && e.Sequence < l.baseline {
		return
	}
	e.SchemaName, e.TableName = audit.T("workload"), audit.T(strconv.Itoa(int(l.relation)))
	if l.fold.Add(&e) != nil {
		c.failed[l.relation] = l
	}
}

// note applies an entry that frames a baseline. One may come late, of a table
// that is gone.
func (c *chronicle) note(name string, e *audit.Entry) {
	l := c.lives[c.names[name]]
	if l == nil {
		return
	}
	if !c.late && e.Action.String() == "baseline_started" {
		l.baseline = e.Sequence
	}
	c.apply(l, *e)
}

// redefined applies an entry about DDL to the table that it is about: what it says
// of the columns, and not of the name, which the fold does not know.
func (c *chronicle) redefined(e *audit.Entry) error {
	details := make(map[string]json.RawMessage)
	if err := json.Unmarshal(e.NewValues, &details); err != nil {
		return err
	}
	var called, before, lost []string
	for key, into := range map[string]*[]string{"table": &called, "renamed_from": &before, "unknown_values": &lost} {
		if text, ok := details[key]; ok {
			if err := json.Unmarshal(text, into); err != nil {
				return err
			}
		}
	}
	if before != nil {
		called = before
	}
	l := c.lives[c.names[strings.Join(called, ".")]]
	if l == nil {
		return nil
	}
	if len(lost) > 0 {
		l.lost++
	}
	for _, key := range []string{"renamed_from", "type", "object"} {
		delete(details, key)
	}
	details["table"] = json.RawMessage(fmt.Sprintf(`["workload","%d"]`, l.relation))
	text, err := json.Marshal(details)
	if err != nil {
		return err
	}
	applied := *e
	applied.NewValues = text
	c.apply(l, applied)
	return nil
}

// step reads one row of the history.
func (c *chronicle) step(e *audit.Entry) error {
	row, err := trail.ParseRow(e.NewValues)
	if err != nil {
		return err
	}
	get := func(column string) string { return row.Get(column).Text }
	number, err := strconv.ParseUint(get("relation"), 10, 32)
	if err != nil {
		return err
	}
	relation, name := uint32(number), get("schema")+"."+get("name")
	switch what := get("what"); {
	case what == "begins":
		c.names[name] = relation
		for _, kept := range c.waiting[name] {
			c.change(name, kept)
		}
		delete(c.waiting, name)
	case what == "ends" && c.names[name] == relation:
		delete(c.names, name)
	}
	return nil
}

// baselined waits until every published table has a baseline that is younger
// than the last command that gave its rows values that are in no log.
func (w *workload) baselined(limit time.Duration) {
	w.t.Helper()
	trail, tables := w.s.ch.Connect("reader"), w.pg.Connect()
	defer tables.Close(context.Background())
	for deadline := time.Now().Add(limit); ; wait(500 * time.Millisecond) {
		left := w.withoutBaseline(trail, tables)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d tables have no baseline: %v\n%s", len(left), left[:min(10, len(left))], w.s.tail())
		}
	}
}

func (w *workload) withoutBaseline(trail driver.Conn, tables *pgx.Conn) (left []string) {
	w.t.Helper()
	ctx := context.Background()
	states := make(map[uint32]baseline.State)
	rows, err := trail.Query(ctx, "SELECT relation, state FROM "+w.s.ch.Database+".baselines FINAL")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var relation uint32
		var text string
		if err := rows.Scan(&relation, &text); err != nil {
			w.t.Fatal(err)
		}
		if states[relation], err = baseline.ReadState(text); err != nil {
			w.t.Fatal(err)
		}
	}
	published, err := tables.Query(ctx, `SELECT c.oid, format('%s.%s', p.schemaname, p.tablename), coalesce(a.known ->> 'z', '')
		FROM pg_publication_tables AS p JOIN pg_class AS c ON c.relname = p.tablename AND c.relnamespace = to_regnamespace(quote_ident(p.schemaname))
		LEFT JOIN pgwitness.audited AS a ON a.relation = c.oid WHERE p.pubname = 'pgwitness_workload'
		AND EXISTS (SELECT FROM pg_attribute AS b WHERE b.attrelid = c.oid AND b.attnum > 0 AND NOT b.attisdropped)`)
	if err != nil {
		w.t.Fatal(err)
	}
	var relation uint32
	var name, rewritten string
	_, err = pgx.ForEachRow(published, []any{&relation, &name, &rewritten}, func() error {
		s := states[relation]
		if done := s.Phase == baseline.Completed || s.Phase == baseline.Skipped; !done || rewritten != "" && s.Rewritten != rewritten {
			left = append(left, strings.TrimSuffix(name+": "+string(s.Phase)+" "+s.Why, ": "))
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return left
}

// decoded counts the changes by table as PostgreSQL decodes them for a slot of ours, from
// protocol 1: R describes a table; I, U and D are followed by its OID, T by the
// number of tables, one byte, and their OIDs.
func (w *workload) decoded() map[string]int64 {
	w.t.Helper()
	conn := w.pg.Connect()
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), `SELECT data FROM pg_logical_slot_peek_binary_changes('second_opinion', NULL, NULL,
		'proto_version', '1', 'publication_names', 'pgwitness_workload')`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	names, counts := make(map[uint32]string), make(map[string]int64)
	oid := func(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			w.t.Fatal(err)
		}
		switch b[0] {
		case 'R':
			parts := strings.SplitN(string(b[5:]), "\x00", 3)
			names[oid(b[1:])] = cmp.Or(parts[0], "pg_catalog") + "." + parts[1]
		case 'I', 'U', 'D':
			counts[names[oid(b[1:])]]++
		case 'T':
			for rest := b[6:]; len(rest) > 0; rest = rest[4:] {
				counts[names[oid(rest)]]++
			}
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return counts
}

// checkCounts compares the trail with PostgreSQL's own decoding, table by
// table, those that are gone included.
func (w *workload) checkCounts() (changes, tables int64) {
	w.t.Helper()
	want, got := w.decoded(), w.s.changesBy("concat(assumeNotNull(schema_name), '.', assumeNotNull(table_name))")
	for table, n := range want {
		if got[table] != n {
			w.t.Errorf("%s: %d entries, %d committed changes", table, got[table], n)
		}
		changes, tables = changes+n, tables+1
		delete(got, table)
	}
	if len(got) > 0 {
		w.t.Errorf("entries of tables without changes: %v", got)
	}
	return changes, tables
}

// steady fails the test if the sidecar stumbled.
func (w *workload) steady(when string) {
	w.t.Helper()
	if w.s.ended() {
		w.t.Fatalf("%s: the sidecar has ended\n%s", when, w.s.tail())
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for line := range strings.Lines(w.s.log.String()) {
		if strings.Contains(line, `"stream interrupted"`) || strings.Contains(line, `"stream stopped for good"`) {
			w.t.Errorf("%s: %s", when, line)
			w.stumbled++
		}
	}
	w.s.log.Reset()
}

// forgive forgets what the sidecar logged so far.
func (w *workload) forgive() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.log.Reset()
}
