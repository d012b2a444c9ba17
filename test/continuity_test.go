package test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/verify"
)

// under makes t the test that failures belong to, until the returned function
// is called.
func (s *sidecar) under(t testing.TB) func() {
	before := s.t
	s.t = t
	return func() { s.t = before }
}

// work runs each line as a transaction of its own.
func work(pg *harness.PG, lines string) {
	for line := range strings.Lines(lines) {
		pg.Exec(line)
	}
}

// checked verifies a stream and returns its only report; it must be possible.
func (s *sidecar) checked(q pgwitness.VerifyQuery) pgwitness.Report {
	s.t.Helper()
	reports, err := pgwitness.New(s.cfg, zerolog.Nop()).Verify(context.Background(), q, nil)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.tail())
	}
	return reports[0]
}

// finds verifies, and wants exactly these findings of completeness, of whose
// texts nothing is compared.
func (s *sidecar) finds(q pgwitness.VerifyQuery, want ...verify.Finding) pgwitness.Report {
	s.t.Helper()
	r := s.checked(q)
	if v := r.Verdict(verify.Integrity); v.Status != verify.Holds {
		s.t.Fatalf("integrity %s: %+v", v.Status, v.Findings)
	}
	v := r.Verdict(verify.Completeness)
	if int(v.Total) != len(want) || len(v.Findings) != len(want) || (v.Status == verify.Holds) != (len(want) == 0) {
		s.t.Fatalf("completeness %s (%s): want %d findings, got %d: %+v", v.Status, v.Reason, len(want), v.Total, v.Findings)
	}
	for i, w := range want {
		f := v.Findings[i]
		if f.Kind != w.Kind || f.Table != w.Table || f.Key != w.Key || !slices.Equal(f.Columns, w.Columns) {
			s.t.Errorf("finding %d is %+v, want %+v", i, f, w)
		}
	}
	return r
}

// unpublished does what a hand does that hides changes: it takes a table out of
// the publication, changes it, and puts it back.
func (s *sidecar) unpublished(table, statement string) {
	s.t.Helper()
	publication := s.cfg.Streams[0].Postgres.Publication
	s.pg.Exec("ALTER PUBLICATION " + publication + " DROP TABLE " + table)
	s.pg.Exec(statement)
	s.pg.Exec("ALTER PUBLICATION " + publication + " ADD TABLE " + table)
}

const continuityTables = `
CREATE TABLE orders (id int PRIMARY KEY, status text, note text);
CREATE TABLE stock (sku text, shop int, pieces int, PRIMARY KEY (shop, sku));
CREATE TABLE tills (id int PRIMARY KEY, cash numeric(10,2));
CREATE TABLE drafts (id int PRIMARY KEY, body text, mark text);
CREATE TABLE visits (who text, at int);
ALTER TABLE drafts ALTER body SET STORAGE EXTERNAL;
INSERT INTO orders SELECT g, 'old', NULL FROM generate_series(100, 110) g;`

// What happens to rows without anything being hidden: each of these lines once
// looked like a hidden change to some version of the check, or could.
const honestWork = `
INSERT INTO orders SELECT g, 'new', 'n' FROM generate_series(1, 20) g;
UPDATE orders SET status = 'paid' WHERE id <= 10;
UPDATE orders SET id = id + 1000 WHERE id BETWEEN 5 AND 8;
UPDATE orders SET status = 'sent' WHERE id > 1000;
UPDATE orders SET status = 'seen' WHERE id BETWEEN 100 AND 105;
DELETE FROM orders WHERE id = 106;
INSERT INTO orders VALUES (106, 'again', '');
BEGIN; UPDATE orders SET note = 'a' WHERE id = 1; SAVEPOINT s; UPDATE orders SET note = 'b' WHERE id = 1; ROLLBACK TO s; UPDATE orders SET note = 'c' WHERE id = 1; COMMIT;
BEGIN; DELETE FROM orders WHERE id = 2; INSERT INTO orders VALUES (2, 'back', NULL); COMMIT;
INSERT INTO orders VALUES (3, 'x', 'y') ON CONFLICT (id) DO UPDATE SET status = 'upserted';
INSERT INTO stock VALUES ('a/b', 1, 5), ('a', 1, 6), ('50%', 2, 7);
UPDATE stock SET pieces = pieces - 1;
UPDATE stock SET shop = 3 WHERE sku = '50%';
UPDATE stock SET pieces = 0 WHERE shop = 3;
INSERT INTO drafts VALUES (1, repeat('x', 9000), 'a'), (2, NULL, 'a');
UPDATE drafts SET mark = 'b';
UPDATE drafts SET body = body || 'y' WHERE id = 1;
ALTER TABLE drafts REPLICA IDENTITY DEFAULT;
UPDATE drafts SET mark = 'c';
UPDATE drafts SET id = 3 WHERE id = 2;
DELETE FROM drafts WHERE id = 1;
ALTER TABLE drafts REPLICA IDENTITY FULL;
UPDATE drafts SET mark = 'd';
INSERT INTO visits VALUES ('ann', 1), ('ann', 1), ('bob', NULL);
UPDATE visits SET at = 2 WHERE who = 'bob';
DELETE FROM visits WHERE ctid IN (SELECT ctid FROM visits WHERE who = 'ann' LIMIT 1);
INSERT INTO tills VALUES (1, 10), (2, 20);
ALTER TABLE orders ADD COLUMN channel text DEFAULT 'web';
UPDATE orders SET channel = 'app' WHERE id = 9;
ALTER TABLE orders RENAME COLUMN note TO remark;
UPDATE orders SET remark = 'r' WHERE id IN (1, 9);
ALTER TABLE orders DROP COLUMN remark;
UPDATE orders SET status = 'late' WHERE id = 9;
ALTER TABLE stock ALTER pieces TYPE bigint;
ALTER TABLE stock ALTER pieces TYPE text;
UPDATE stock SET pieces = '9' WHERE sku = 'a';
UPDATE stock SET pieces = pieces || '0' WHERE sku <> 'a';
ALTER TABLE visits ADD COLUMN page text;
UPDATE visits SET page = '/' WHERE who = 'ann';`

func TestContinuity(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(continuityTables)
	s := newSidecar(t, pg, ch, "streams:\n  - name: shop\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: \"public.*\"}]\n    heartbeat_interval: 0s\n")
	s.start()
	s.sync(time.Minute)
	q := pgwitness.VerifyQuery{Continuity: true}
	work(pg, honestWork)
	s.sync(time.Minute)
	s.finds(q)

	// The findings of one step stay for the next: history is not rewritten.
	var found []verify.Finding
	for _, c := range []struct {
		name, table, hidden, next string
		want                      verify.Finding
	}{
		{"update", "tills", "UPDATE tills SET cash = 1 WHERE id = 1", "UPDATE tills SET cash = 3 WHERE id = 1",
			verify.Finding{Table: "public.tills", Key: "1", Columns: []string{"cash"}}},
		{"update, found by a delete", "stock", "UPDATE stock SET pieces = 'forged' WHERE sku = 'a/b'", "DELETE FROM stock WHERE sku = 'a/b'",
			verify.Finding{Table: "public.stock", Key: "1/a%2Fb", Columns: []string{"pieces"}}},
		{"delete", "tills", "DELETE FROM tills WHERE id = 2", "INSERT INTO tills VALUES (2, 20)",
			verify.Finding{Table: "public.tills", Key: "2"}},
		{"insert", "drafts", "INSERT INTO drafts VALUES (9, 'b', 'hidden')", "UPDATE drafts SET mark = 'z' WHERE id = 9",
			verify.Finding{Table: "public.drafts", Key: "9"}},
	} {
		t.Run("hidden "+c.name, func(t *testing.T) {
			defer s.under(t)()
			if c.name == "insert" {
				pg.Exec("TRUNCATE drafts") // from here on the trail knows every row
			}
			s.unpublished(c.table, c.hidden)
			pg.Exec(c.next)
			s.sync(time.Minute)
			c.want.Kind = verify.HiddenChange
			found = append(found, c.want)
			slices.SortStableFunc(found, byTable)
			s.finds(q, found...)
		})
	}
	t.Run("printed", func(t *testing.T) {
		defer s.under(t)()
		s.prints(3, []string{"verify", "--tail", "5", "--continuity"}, "public.tills 1: the old values are not those that sequence", "(cash)", "completeness  FAILS")
		out, _ := s.run("verify", "--continuity", "--json")
		wantIn(t, out, `"kind": "hidden_change"`, `"table": "public.stock"`, `"key": "1/a%2Fb"`)
		wantOut(t, out, "forged")
		s.prints(3, []string{"verify", "--continuity", "--values"}, `want pieces="40"`, `got  pieces="forged"`)
	})
}

// byTable is the order in which tables are looked at.
func byTable(a, b verify.Finding) int {
	if a.Table < b.Table {
		return -1
	}
	if a.Table > b.Table {
		return 1
	}
	return 0
}

// A gap that an operator accepted explains what does not follow from what was
// stored before it, and nothing that was told of after it.
func TestContinuityBehindADeclaredGap(t *testing.T) {
	pg := harness.Postgres(t)
	s := newWatched(t, pg, "shop")
	pg.Exec("TRUNCATE orders; INSERT INTO orders VALUES (1, 'a'), (2, 'a'), (3, 'a')")
	s.sync(time.Minute)
	s.kill()
	pg.Exec("UPDATE orders SET status = 'unseen'; INSERT INTO orders VALUES (4, 'unseen'); DELETE FROM orders WHERE id = 3")
	pg.Exec("SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", s.freeSlot())
	s.refuses("slot_advanced")
	s.prints(0, []string{"resume", "--accept-gap", "--reason", "a test"}, "is recorded")
	s.start()
	pg.Exec("UPDATE orders SET status = 'b' WHERE id IN (1, 4); INSERT INTO orders VALUES (3, 'b')")
	s.sync(time.Minute)
	q := pgwitness.VerifyQuery{Continuity: true, Reconcile: true}
	r := s.finds(q)
	wantIn(t, r.Verdict(verify.Completeness).Reason, "2 explained by declared gaps", "1 changes of rows from before the trail")
	s.unpublished("orders", "UPDATE orders SET status = 'hidden' WHERE id = 1")
	pg.Exec("UPDATE orders SET status = 'c'")
	s.sync(time.Minute)
	s.finds(q, verify.Finding{Kind: verify.HiddenChange, Table: "public.orders", Key: "1", Columns: []string{"status"}})
}
