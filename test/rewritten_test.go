package test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
)

// rewritable is a table for each way in which DDL gives rows other values
// without a row in the log.
const rewritable = `
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE added (id int PRIMARY KEY, v text);
CREATE TABLE numbered (id int PRIMARY KEY, v text);
CREATE TABLE retyped (id int PRIMARY KEY, n int);
CREATE TABLE doubled (id int PRIMARY KEY, n int);
CREATE TABLE rekeyed (id int PRIMARY KEY, n int);
CREATE TABLE keyless (a int, b text);
CREATE TABLE moods (id int PRIMARY KEY, m mood[]);
CREATE TABLE pairs (id int PRIMARY KEY, p pair);
CREATE TABLE computed (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE frozen (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE parent (id int PRIMARY KEY, n int);
CREATE TABLE child (more int, PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE whole (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (1000);
CREATE TABLE hidden (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE hidden_1 PARTITION OF hidden FOR VALUES FROM (0) TO (1000);
CREATE TABLE told (id int PRIMARY KEY, n int);
INSERT INTO keyless SELECT i % 7, 'b' FROM generate_series(1, 60) AS i;
INSERT INTO moods SELECT i, '{sad,ok}' FROM generate_series(1, 60) AS i;
INSERT INTO pairs SELECT i, ROW(i, 'x')::pair FROM generate_series(1, 60) AS i;
INSERT INTO child SELECT i, i, i FROM generate_series(101, 160) AS i;`

// rewritableRows are the tables of numbered rows.
func rewritableRows() []string {
	return []string{"added", "numbered", "retyped", "doubled", "rekeyed", "parent", "whole", "hidden", "told", "computed", "frozen"}
}

// rewrites are the commands. What they make of the rows stands in no log.
const rewrites = `ALTER TABLE added ADD r float DEFAULT random()
ALTER TABLE numbered ADD n int GENERATED ALWAYS AS IDENTITY
ALTER TABLE retyped ALTER n TYPE text USING n || ' pieces'
ALTER TABLE doubled ALTER n TYPE int USING n * 2
ALTER TABLE rekeyed ALTER id TYPE int USING id + 20
ALTER TABLE keyless ALTER b TYPE text USING b || a
ALTER TYPE mood RENAME VALUE 'ok' TO 'well'
ALTER TYPE pair ADD ATTRIBUTE c int
ALTER TABLE computed ALTER twice SET EXPRESSION AS (n * 3)
ALTER TABLE frozen ALTER twice DROP EXPRESSION
ALTER TABLE parent ADD s serial
ALTER TABLE whole ADD u uuid DEFAULT gen_random_uuid()
ALTER TABLE hidden_1 SET UNLOGGED
UPDATE hidden_1 SET n = 7 WHERE id % 2 = 0
DELETE FROM hidden_1 WHERE id > 50
ALTER TABLE hidden_1 SET LOGGED
ALTER TABLE told ADD c int DEFAULT 5`

// rewritten are the tables whose rows have other values by it.
func rewritten() []string {
	return []string{"added", "numbered", "retyped", "doubled", "rekeyed", "keyless", "moods", "pairs", "computed", "parent", "child", "part", "hidden_1"}
}

// Whatever DDL does to the rows of a table without a row in the log, the entry of
// the command says whose values are unknown from there on, and a new baseline
// makes the fold the table again, although the sidecar is killed meanwhile. What
// the entry tells costs no baseline.
func TestBaselineAfterRewrites(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(rewritable)
	for _, table := range rewritableRows() {
		pg.Exec("INSERT INTO " + table + " (id) SELECT generate_series(1, 60)")
		if strings.Contains("retyped doubled computed frozen told", table) {
			pg.Exec("UPDATE " + table + " SET n = id")
		}
	}
	tables := append(rewritten(), "told", "frozen")
	s := newSidecar(t, pg, ch, strings.Replace(baselineOf("rewritten", 10), "    ddl: off\n", "", 1))
	s.start()
	s.baselined(len(tables))
	s.stop()

	s.reconfigure("baseline: {", "baseline: {enabled: false, ")
	s.start()
	work(pg, rewrites)
	pg.Exec("UPDATE added SET v = 'seen' WHERE id = 5; DELETE FROM retyped WHERE id = 6; UPDATE keyless SET a = 9 WHERE a = 1; UPDATE rekeyed SET n = 1 WHERE id = 40")
	s.sync(time.Minute)
	s.unknownAndNotWrong(rewritten()...)
	s.foldEqualsTables("told", "frozen")
	s.checked(pgwitness.VerifyQuery{Continuity: true})
	s.stop()

	s.reconfigure("baseline: {enabled: false, ", "baseline: {rows_per_second: 400, ")
	s.start()
	began := "SELECT count() > " + strconv.Itoa(len(tables)+3) + " FROM audit_logs WHERE action = 'baseline_started'"
	s.eventually(began, "1")
	s.kill()
	s.start()
	for _, table := range rewritten() {
		s.eventually("SELECT count() > 1 FROM audit_logs WHERE action = 'baseline_completed' AND table_name = '"+table+"'", "1")
	}
	s.sync(time.Minute)
	s.foldEqualsTables(tables...)
	if n := s.query("SELECT count() FROM audit_logs WHERE action = 'baseline_started' AND table_name = 'told'"); n != "1" {
		t.Errorf("a table was read %s times of which the entry told all", n)
	}
	s.finds(pgwitness.VerifyQuery{Continuity: true, Reconcile: true})
	s.stop()
}

// reconfigure replaces a part of the configuration, for the next start.
func (s *sidecar) reconfigure(before, after string) {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	if strings.Count(string(text), before) != 1 {
		s.t.Fatalf("%q is not once in the configuration", before)
	}
	if err := os.WriteFile(s.file, []byte(strings.Replace(string(text), before, after, 1)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// unknownAndNotWrong checks that where a table is not what its entries say, these
// say themselves that they do not know.
func (s *sidecar) unknownAndNotWrong(tables ...string) {
	s.t.Helper()
	s.foldEach(tables, func(table string, fold *trail.Fold, got trail.Comparison) {
		wrong := got.Different + got.Extra
		if fold.Complete() {
			wrong += got.Missing
		}
		if b := fold.Breaks(); wrong > 0 || b.Count > 0 {
			s.t.Errorf("%s: the entries are wrong: %s; breaks %+v", table, got, b.First)
		}
		if got.Exact() && got.Explained == 0 {
			s.t.Errorf("%s: the command changed nothing: %s", table, got)
		}
	})
}
