package test

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
)

const workloadConfig = `streams:
  - name: workload
    postgres: {dsn: "${SHOP_DSN}"}
    watch_interval: 2s
    ddl: "off" # the workload has an event trigger of its own
    tables: [{name: public.*}, {name: workload.history}]
`

// workload is a database in which anything at all may be done to tables, beside
// a sidecar and PostgreSQL's own decoding as the second opinion.
type workload struct {
	t  testing.TB
	pg *harness.PG
	s  *sidecar
}

// newWorkload prepares the database and starts the sidecar.
func newWorkload(t testing.TB, pg *harness.PG, ch *harness.CH) *workload {
	t.Helper()
	w := &workload{t: t, pg: pg}
	pg.Exec(w.script("history.sql"))
	w.s = newSidecar(t, pg, ch, workloadConfig)
	pg.Exec("SELECT pg_create_logical_replication_slot('second_opinion', 'pgoutput')")
	pg.Exec(strings.ReplaceAll(w.script("follow.sql"), "$PUBLICATION", "pgwitness_workload"))
	pg.Exec("ALTER PUBLICATION pgwitness_workload ADD TABLES IN SCHEMA public")
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
	altered  []string // commands that gave it other values, or another shape, without a row in the log
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

// present lists the tables that are there, those without columns left out.
func (w *workload) present(ctx context.Context, tx pgx.Tx) (map[uint32]*life, error) {
	rows, err := tx.Query(ctx, `SELECT relation, schema, name FROM workload.present
		WHERE EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped)`)
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
// as a bag of rows, in a second run.
func (w *workload) replay(lives map[uint32]*life) {
	w.t.Helper()
	for _, l := range lives {
		l.fold = trail.NewFold("workload", strconv.Itoa(int(l.relation)), l.key)
	}
	again := make(map[uint32]*life)
	w.replayInto(lives, again)
	for relation, l := range again {
		l.key, l.altered = nil, nil
		l.fold = trail.NewFold("workload", strconv.Itoa(int(relation)), nil)
	}
	if len(again) > 0 {
		failed := make(map[uint32]*life)
		w.replayInto(again, failed)
		for _, l := range failed {
			w.t.Errorf("%s cannot be folded, neither by its key nor without", l.name())
		}
	}
}

// chronicle is a run through the trail: who had which name at that point.
type chronicle struct {
	lives   map[uint32]*life
	failed  map[uint32]*life // whose entries do not fit their key
	names   map[string]uint32
	waiting map[string][]*audit.Entry // rows that CREATE TABLE AS wrote, before the history tells of the table
}

func (w *workload) replayInto(lives, failed map[uint32]*life) {
	w.t.Helper()
	server, err := w.s.cfg.ClickHouse.Reader()
	if err != nil {
		w.t.Fatal(err)
	}
	c := chronicle{lives: lives, failed: failed, names: map[string]uint32{}, waiting: map[string][]*audit.Entry{}}
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
		case operation == "insert" || operation == "update" || operation == "delete" || operation == "truncate":
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
	if !ok {
		kept := store.Clone(e)
		c.waiting[name] = append(c.waiting[name], &kept)
		return
	}
	l := c.lives[relation]
	if l == nil || c.failed[relation] != nil {
		return
	}
	applied := *e
	applied.SchemaName, applied.TableName = audit.T("workload"), audit.T(strconv.Itoa(int(relation)))
	if l.fold.Add(&applied) != nil {
		c.failed[relation] = l
	}
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
	l := c.lives[relation]
	switch what := get("what"); {
	case what == "begins":
		c.names[name] = relation
		for _, kept := range c.waiting[name] {
			c.change(name, kept)
		}
		delete(c.waiting, name)
	case what == "ends" && c.names[name] == relation:
		delete(c.names, name)
	case what == "altered" && l != nil:
		l.altered = append(l.altered, get("tag"))
	case what == "again" && l != nil:
		l.altered = nil
		l.fold = trail.NewFold("workload", get("relation"), l.key)
	}
	return nil
}

// again writes every row of a table anew, in a transaction and past all
// triggers and rules of the table: then the log has all its values.
func (w *workload) again(l *life) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn := w.pg.Connect()
	defer conn.Close(ctx)
	table := pgx.Identifier{l.schema, l.table}.Sanitize()
	var columns string
	if err := conn.QueryRow(ctx, `SELECT coalesce(string_agg(quote_ident(attname), ', ' ORDER BY attnum), '')
		FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = ''`, l.relation).Scan(&columns); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, fmt.Sprintf(`BEGIN; SET LOCAL session_replication_role = replica;
		CREATE TEMP TABLE again ON COMMIT DROP AS SELECT %[2]s FROM ONLY %[1]s;
		DELETE FROM ONLY %[1]s;
		INSERT INTO workload.history (what, relation, schema, name, tag) VALUES ('again', %[3]d, '', '', '');
		INSERT INTO %[1]s (%[2]s) OVERRIDING SYSTEM VALUE SELECT %[2]s FROM again; COMMIT`, table, columns, l.relation))
	return err
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
			names[oid(b[1:])] = parts[0] + "." + parts[1]
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
			w.t.Fatalf("%s: %s", when, line)
		}
	}
}

// forgive forgets what the sidecar logged so far.
func (w *workload) forgive() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.log.Reset()
}
