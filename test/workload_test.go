package test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/baseline"
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
