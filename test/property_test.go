package test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/demo"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
	"github.com/pgwitness/pgwitness/verify"
)

// propertyRuns is how many workloads are tried; PGWITNESS_PROPERTY asks for
// more: `PGWITNESS_PROPERTY=500 go test -timeout 1h -run Property ./test`.
const propertyRuns = 8

// Any workload at all: PostgreSQL's own decoder counts as many changes of each
// table as there are entries, the fold of the entries is the tables, and the
// trail verifies, with continuity and reconciliation. A workload that fails is
// made as small as it can be and printed.
func TestPropertyFoldEqualsTables(t *testing.T) {
	t.Parallel()
	runs := propertyRuns
	if n, err := strconv.Atoi(os.Getenv("PGWITNESS_PROPERTY")); err == nil {
		runs = n
	}
	checks := flag.Lookup("rapid.checks").Value
	defer flag.Set("rapid.checks", checks.String())
	if err := flag.Set("rapid.checks", strconv.Itoa(runs)); err != nil {
		t.Fatal(err)
	}
	w := newWorkshop(t)
	rapid.Check(t, func(rt *rapid.T) {
		program := rapid.SliceOfN(rapid.Custom(drawStep), 60, 150).Draw(rt, "program")
		if err := w.run(program); err != nil {
			rt.Fatal(err)
		}
	})
	if err := w.verified(t.Context(), true); err != nil && !t.Failed() {
		t.Error(err)
	}
	t.Logf("%d workloads, %d statements done, %d refused by the server, %d entries", w.runs, w.done, w.refused, w.entries)
	if w.done < 10*w.runs || w.entries < int64(200*w.runs) {
		t.Error("the workloads do next to nothing")
	}
	w.s.stop()
}

// workshop is where workloads run: a database with a sidecar, three sessions,
// and a census. Each run has tables of its own.
type workshop struct {
	t        testing.TB
	s        *sidecar
	sessions [3]*pgx.Conn
	census   *demo.Census
	slot     string
	prefix   string // of the tables of this run

	runs, done, refused int
	entries             int64
}

func newWorkshop(t testing.TB) *workshop {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE first (id int PRIMARY KEY)")
	s := newSidecar(t, pg, harness.ClickHouse(t), "batch: {window: 20ms}\nstreams:\n  - name: any\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: public.first}]\n    heartbeat_interval: 0s\n    watch_interval: 1m\n")
	w := &workshop{t: t, s: s, slot: "census_" + pg.Database}
	w.census = demo.NewCensus(pg.DSN(), w.slot, "pgwitness_any")
	if err := w.census.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.census.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for i := range w.sessions {
		w.sessions[i] = pg.Connect()
	}
	s.start()
	return w
}

// step is one statement of one session.
type step struct {
	Session int
	SQL     string
}

func (s step) String() string { return fmt.Sprintf("%d: %s", s.Session, s.SQL) }

// statements are what sessions do. {x} and {y} are small numbers, {#} the
// place in the program, {s} the session.
func statements() []string {
	return strings.Split(strings.TrimSpace(`
BEGIN
BEGIN
COMMIT
COMMIT
ROLLBACK
SAVEPOINT s
SAVEPOINT s
ROLLBACK TO s
ROLLBACK TO s
RELEASE s
PREPARE TRANSACTION '{p}{s}'
COMMIT PREPARED '{p}{s}'
ROLLBACK PREPARED '{p}{s}'
INSERT INTO {p}a (id, n, txt, big, m, b) SELECT g, {x}, 't' || g, repeat(chr(97 + {y}), 3000), g * 1.10, g % 2 = 0 FROM generate_series({x}, {x} + 2 * {y}) g ON CONFLICT DO NOTHING
INSERT INTO {p}a (id, n, txt, b) SELECT g, {y}, NULL, NULL FROM generate_series({x}, {x} + {y}) g ON CONFLICT (id) DO UPDATE SET n = {p}a.n + 1, txt = excluded.txt
UPDATE {p}a SET n = n + 1 WHERE id % ({y} + 1) = 0
UPDATE {p}a SET txt = 'u{#}', b = NOT b WHERE id BETWEEN {x} AND {x} + {y}
UPDATE {p}a SET big = big || 'z' WHERE id = {x}
UPDATE {p}a SET m = -m, big = CASE WHEN {y} = 1 THEN NULL ELSE big END WHERE id <= {x}
UPDATE {p}a SET id = id + 40 WHERE id = {x}
UPDATE {p}a SET id = 2000 - id WHERE id BETWEEN {x} AND {x} + 3
UPDATE {p}a SET n = n WHERE id > {x}
DELETE FROM {p}a WHERE id BETWEEN {x} AND {x} + {y}
WITH gone AS (DELETE FROM {p}a WHERE id = {x} RETURNING *) INSERT INTO {p}a (id, n, txt) SELECT id, n + 7, 'again' FROM gone
MERGE INTO {p}a AS a USING generate_series({x}, {x} + {y}) AS g ON a.id = g WHEN MATCHED AND g % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = 99 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (g, 0)
INSERT INTO {p}c SELECT g, {x}, 'c' FROM generate_series({x}, {x} + {y}) g ON CONFLICT DO NOTHING
UPDATE {p}c SET note = note || '{y}' WHERE id % 3 = 0
DELETE FROM {p}c WHERE id % ({y} + 2) = 0
INSERT INTO {p}p SELECT (g * {y}) % 100, g, 'p' FROM generate_series({x}, {x} + {y}) g ON CONFLICT DO NOTHING
UPDATE {p}p SET k = (k + 50) % 100 WHERE id % ({y} + 1) = 0
UPDATE {p}p SET v = 'w{#}' WHERE k < {x}
DELETE FROM {p}p WHERE id = {x}
INSERT INTO {p}l SELECT {x}, 'log' FROM generate_series(1, {y})
UPDATE {p}l SET n = n + 1 WHERE n = {x}
DELETE FROM {p}l WHERE ctid IN (SELECT ctid FROM {p}l WHERE n >= {x} LIMIT {y})
INSERT INTO {p}d SELECT g, repeat('d', 3000), 1 FROM generate_series({x}, {x} + {y}) g ON CONFLICT DO NOTHING
UPDATE {p}d SET small = small + 1 WHERE id % 2 = 0
UPDATE {p}d SET big = big || 'y', id = id + {y} WHERE id = {x}
DELETE FROM {p}d WHERE id = {x}
COPY {p}a
COPY {p}l
TRUNCATE {p}a CASCADE
TRUNCATE {p}l, {p}p
SET CONSTRAINTS ALL DEFERRED; UPDATE {p}q SET id = {y} + 1 - id WHERE id BETWEEN 1 AND {y}
INSERT INTO {p}q SELECT g, 'q{#}' FROM generate_series(1, {y}) g ON CONFLICT DO NOTHING
SET LOCAL session_replication_role = replica; UPDATE {p}c SET note = 'r{#}' WHERE id < {x}
ALTER TABLE {p}a ADD COLUMN x{#} int DEFAULT {x}
ALTER TABLE {p}c ADD COLUMN x{#} text
DO $$BEGIN EXECUTE format('ALTER TABLE {p}a DROP COLUMN %I', (SELECT attname FROM pg_attribute WHERE attrelid = '{p}a'::regclass AND attname LIKE 'x%' LIMIT 1)); END$$
DO $$BEGIN EXECUTE format('UPDATE {p}a SET %I = {y} WHERE id > {x}', (SELECT attname FROM pg_attribute WHERE attrelid = '{p}a'::regclass AND attname LIKE 'x%' LIMIT 1)); END$$
DO $$BEGIN EXECUTE format('ALTER TABLE {p}a RENAME COLUMN %I TO spare{#}', (SELECT attname FROM pg_attribute WHERE attrelid = '{p}a'::regclass AND attname LIKE 'spare%')); END$$
DO $$BEGIN EXECUTE format('UPDATE {p}a SET %I = ''s{#}'' WHERE id % 3 = 0', (SELECT attname FROM pg_attribute WHERE attrelid = '{p}a'::regclass AND attname LIKE 'spare%')); END$$
ALTER TABLE {p}l ALTER n TYPE bigint
ALTER TABLE {p}c ALTER note TYPE varchar(200)
DO $$BEGIN EXECUTE format('ALTER TABLE %I RENAME TO {p}r{#}', (SELECT relname FROM pg_class WHERE relname LIKE '{p}r%' AND relkind = 'r')); END$$
DO $$BEGIN EXECUTE format('INSERT INTO %I SELECT g, {y} FROM generate_series({x}, {x} + 3) g ON CONFLICT (id) DO UPDATE SET n = {x}', (SELECT relname FROM pg_class WHERE relname LIKE '{p}r%' AND relkind = 'r')); END$$
CREATE TABLE {p}n{#} (id int PRIMARY KEY, v text); ALTER TABLE {p}n{#} REPLICA IDENTITY FULL; ALTER PUBLICATION pgwitness_any ADD TABLE {p}n{#}; INSERT INTO {p}n{#} SELECT g, 'n' FROM generate_series(1, {y}) g; UPDATE {p}n{#} SET v = 'm' WHERE id = 1
ALTER TABLE {p}a REPLICA IDENTITY DEFAULT
ALTER TABLE {p}a REPLICA IDENTITY FULL`), "\n")
}

// propertyTables are made and filled for each run.
const propertyTables = `
CREATE TABLE {p}a (id int PRIMARY KEY, n bigint, txt text, big text, m numeric(12,2), b boolean, spare text);
ALTER TABLE {p}a ALTER big SET STORAGE EXTERNAL;
CREATE TABLE {p}c (id int PRIMARY KEY, a_id int REFERENCES {p}a ON DELETE CASCADE ON UPDATE CASCADE, note text);
CREATE TABLE {p}p (k int, id int, v text, PRIMARY KEY (k, id)) PARTITION BY RANGE (k);
CREATE TABLE {p}p0 PARTITION OF {p}p FOR VALUES FROM (0) TO (50);
CREATE TABLE {p}p1 PARTITION OF {p}p FOR VALUES FROM (50) TO (100);
CREATE TABLE {p}l (n int, what text);
CREATE TABLE {p}d (id int PRIMARY KEY, big text, small int);
ALTER TABLE {p}d ALTER big SET STORAGE EXTERNAL;
CREATE TABLE {p}q (id int, v text, UNIQUE (id) DEFERRABLE);
CREATE TABLE {p}r (id int PRIMARY KEY, n int);
ALTER TABLE {p}a REPLICA IDENTITY FULL; ALTER TABLE {p}c REPLICA IDENTITY FULL; ALTER TABLE {p}p0 REPLICA IDENTITY FULL; ALTER TABLE {p}p1 REPLICA IDENTITY FULL;
ALTER TABLE {p}l REPLICA IDENTITY FULL; ALTER TABLE {p}q REPLICA IDENTITY FULL; ALTER TABLE {p}r REPLICA IDENTITY FULL;
ALTER PUBLICATION pgwitness_any ADD TABLE {p}a, {p}c, {p}p, {p}l, {p}d, {p}q, {p}r;
INSERT INTO {p}a SELECT g, g, 'first', repeat('b', 3000), g, true, NULL FROM generate_series(1, 40) g;
INSERT INTO {p}c SELECT g, g % 10 + 1, 'c' FROM generate_series(1, 20) g;
INSERT INTO {p}p SELECT g * 7 % 100, g, 'p' FROM generate_series(1, 30) g;
INSERT INTO {p}l SELECT g % 5, 'log' FROM generate_series(1, 15) g;
INSERT INTO {p}d SELECT g, repeat('d', 3000), 0 FROM generate_series(1, 20) g;
INSERT INTO {p}q SELECT g, 'q' FROM generate_series(1, 6) g;
INSERT INTO {p}r SELECT g, 0 FROM generate_series(1, 10) g;`

func drawStep(t *rapid.T) step {
	session := rapid.IntRange(0, 2).Draw(t, "session")
	text := rapid.SampledFrom(statements()).Draw(t, "statement")
	return step{session, strings.NewReplacer(
		"{x}", strconv.Itoa(rapid.IntRange(0, 30).Draw(t, "x")), "{y}", strconv.Itoa(rapid.IntRange(1, 6).Draw(t, "y")), "{s}", strconv.Itoa(session),
	).Replace(text)}
}

// run runs a program on fresh tables and says what is wrong afterwards.
func (w *workshop) run(program []step) error {
	ctx := w.t.Context()
	w.runs++
	w.prefix = fmt.Sprintf("t%d_", w.runs)
	w.s.pg.Exec(strings.ReplaceAll(propertyTables, "{p}", w.prefix))
	for i := range w.sessions {
		if _, err := w.sessions[i].Exec(ctx, "SET lock_timeout = '50ms'"); err != nil {
			return err
		}
	}
	for i, s := range program {
		text := strings.NewReplacer("{p}", w.prefix, "{#}", strconv.Itoa(i)).Replace(s.SQL)
		err := w.do(ctx, w.sessions[s.Session], text)
		if w.done++; err != nil {
			w.done, w.refused = w.done-1, w.refused+1
		}
		if w.sessions[s.Session].IsClosed() {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	for _, c := range w.sessions {
		if _, err := c.Exec(ctx, "COMMIT"); err != nil { // a transaction that failed rolls back
			return err
		}
	}
	for i := range w.sessions {
		gid := fmt.Sprintf("%s%d", w.prefix, i)
		if w.s.pg.Value("SELECT count(*) FROM pg_prepared_xacts WHERE gid = $1", gid) == "1" {
			w.s.pg.Exec("COMMIT PREPARED '" + gid + "'")
		}
	}
	w.s.sync(time.Minute)
	return errors.Join(w.counted(ctx), w.folded(ctx), w.verified(ctx, w.runs%8 == 1), w.clean(ctx))
}

// do executes one statement. What the server refuses is rolled back.
func (w *workshop) do(ctx context.Context, c *pgx.Conn, text string) error {
	var err error
	if table, ok := strings.CutPrefix(text, "COPY "); ok {
		rows := strings.NewReader("31\tcopied\n32\t\\N\n33\tcopied too\n")
		columns := "(id, txt)"
		if strings.HasSuffix(table, "_l") {
			columns = "(n, what)"
		}
		_, err = c.PgConn().CopyFrom(ctx, rows, "COPY "+table+" "+columns+" FROM STDIN")
	} else {
		_, err = c.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol)
	}
	if c.PgConn().TxStatus() == 'E' && !strings.HasPrefix(text, "SAVEPOINT") {
		if _, back := c.Exec(ctx, "ROLLBACK"); back != nil {
			return errors.Join(err, back)
		}
	}
	return err
}

// counted compares the entries with the census.
func (w *workshop) counted(ctx context.Context) error {
	counts, err := w.census.Count(ctx)
	if err != nil {
		return err
	}
	w.s.pg.Exec("SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", w.slot)
	entries := make(map[string]int64)
	for table, n := range w.s.changes() {
		if strings.HasPrefix(table, w.prefix) {
			entries[w.now(table)] += n
			w.entries += n
		}
	}
	var errs []error
	for table, c := range counts {
		if strings.HasPrefix(table, w.prefix) && entries[table] != c.Total() {
			errs = append(errs, fmt.Errorf("%s: %d entries, %d committed changes", table, entries[table], c.Total()))
		}
		delete(entries, table)
	}
	if len(entries) > 0 {
		errs = append(errs, fmt.Errorf("entries of tables without changes: %v", entries))
	}
	return errors.Join(errs...)
}

// now is the name under which the census counts a table: of a partition that of
// its root, of the one that is renamed the last.
func (w *workshop) now(table string) string {
	switch {
	case table == w.prefix+"p0", table == w.prefix+"p1":
		return w.prefix + "p"
	case strings.HasPrefix(table, w.prefix+"r"):
		return w.s.pg.Value("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE $1", w.prefix+"r%")
	}
	return table
}

// folded compares the fold of each table with the table. A column that was
// added with a default is unknown in older rows, and the renamed table begins
// under its new name with what the log tells from there on.
func (w *workshop) folded(ctx context.Context) error {
	server, err := w.s.cfg.ClickHouse.Reader()
	if err != nil {
		return err
	}
	published, err := w.published()
	if err != nil {
		return err
	}
	var errs []error
	err = trail.Snapshot(ctx, w.s.pg.Connect(), func(tx pgx.Tx) error {
		for _, table := range published {
			key, err := trail.LiveKey(ctx, tx, "public", table)
			if err != nil {
				return err
			}
			if table == w.prefix+"q" {
				key = []string{"id"}
			}
			fold, err := trail.New(server).Fold(ctx, "any", "public", table, key, nil)
			if err != nil {
				return err
			}
			got, err := fold.CompareLive(ctx, tx)
			if err != nil {
				return err
			}
			renamed := strings.HasPrefix(table, w.prefix+"r")
			if got.Extra+got.Different > 0 || got.Missing > 0 && !renamed {
				errs = append(errs, fmt.Errorf("%s: the fold of the entries is not the table: %s: %v", table, got, got.First))
			}
			if b := fold.Breaks(); b.Count > 0 && !renamed {
				errs = append(errs, fmt.Errorf("%s: entries do not follow from the ones before: %+v", table, b.First))
			}
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

func (w *workshop) published() ([]string, error) {
	text := w.s.pg.Value("SELECT string_agg(tablename, ' ') FROM pg_publication_tables WHERE pubname = 'pgwitness_any' AND tablename LIKE $1", w.prefix+"%")
	if text == "" {
		return nil, errors.New("no table is published")
	}
	return strings.Fields(text), nil
}

// verified is pgwitness verify --full --reconcile, and sometimes --continuity,
// which looks at the tables of all runs so far.
func (w *workshop) verified(ctx context.Context, continuity bool) error {
	reports, err := pgwitness.New(w.s.cfg, zerolog.Nop()).Verify(ctx, pgwitness.VerifyQuery{Continuity: continuity, Reconcile: true, Values: true}, nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range []string{verify.Integrity, verify.Completeness} {
		if v := reports[0].Verdict(name); v.Status != verify.Holds {
			errs = append(errs, fmt.Errorf("%s %s: %s: %+v", name, v.Status, v.Reason, v.Findings))
		}
	}
	return errors.Join(errs...)
}

// clean drops the tables of the run, so that the next is checked by itself.
func (w *workshop) clean(context.Context) error {
	w.s.pg.Exec("DO $$DECLARE t text; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relname LIKE '" +
		w.prefix + "%' LOOP EXECUTE format('DROP TABLE %I CASCADE', t); END LOOP; END$$")
	return nil
}
