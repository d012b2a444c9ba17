package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/test/harness"
)

// Case 20: an edit of the publication hides changes without a trace in the log.
// It becomes an entry, also when it was taken back, and also when nobody looked.
func TestGapOfAPublication(t *testing.T) {
	t.Parallel()
	type edit struct{ name, do, undo, says string }
	edits := []edit{
		{"table out", "ALTER PUBLICATION {p} DROP TABLE orders", "ALTER PUBLICATION {p} ADD TABLE ONLY orders", "orders: taken out of the publication"},
		{"table out and back", "ALTER PUBLICATION {p} DROP TABLE orders; ALTER PUBLICATION {p} ADD TABLE ONLY orders", "", "put back"},
		{"row filter", "ALTER PUBLICATION {p} SET TABLE orders WHERE (id > 100), items", "ALTER PUBLICATION {p} SET TABLE ONLY orders, items", "orders: row filter"},
		{"column list", "ALTER PUBLICATION {p} SET TABLE orders (id, status), items", "ALTER PUBLICATION {p} SET TABLE ONLY orders, items", "orders: column list"},
		{"inserts only", "ALTER PUBLICATION {p} SET (publish = 'insert')", "ALTER PUBLICATION {p} SET (publish = 'insert, update, delete, truncate')", "kinds of changes"},
		{"altered and back", "ALTER PUBLICATION {p} SET (publish = 'insert'); ALTER PUBLICATION {p} SET (publish = 'insert, update, delete, truncate')", "", "perhaps altered back"},
	}
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE items (id int PRIMARY KEY)")
	s := newWatched(t, pg, "edited")
	publication := s.cfg.Streams[0].Postgres.Publication
	const count = "SELECT count() FROM audit_logs WHERE action = 'publication_changed' AND JSONExtractBool(assumeNotNull(new_values), 'changes_may_be_missing')"
	n := 0
	var causes []string
	do := func(sql, says string) {
		t.Helper()
		if sql == "" {
			return
		}
		pg.Exec(strings.ReplaceAll(sql, "{p}", publication))
		n++
		causes = append(causes, "publication_edited")
		s.eventually(count, fmt.Sprint(n))
		if got := s.query("SELECT new_values FROM audit_logs WHERE action = 'publication_changed' ORDER BY sequence DESC LIMIT 1"); !strings.Contains(got, strings.TrimPrefix(says, "orders: ")) {
			t.Errorf("the entry does not say %q: %s", says, got)
		}
	}
	for _, e := range edits {
		do(e.do, e.says)
		undone := ""
		if e.name == "table out" { // for the trail, it is a table that was not there before
			pg.Exec(strings.ReplaceAll(e.undo, "{p}", publication))
			s.eventually("SELECT count() FROM audit_logs WHERE action = 'publication_changed' AND new_values LIKE '%published from now on%'", "1")
			continue
		}
		do(e.undo, undone)
	}
	s.stop()
	do2 := edits[1]
	pg.Exec(strings.ReplaceAll(do2.do, "{p}", publication))
	s.start()
	n++
	s.eventually(count, fmt.Sprint(n))
	r := s.declares(append(causes, "publication_edited")...)
	if g := r.Gaps[0]; !strings.Contains(g.What, "orders: taken out") || g.FromTime == "" || g.ToTime == "" {
		t.Errorf("the first gap is not told: %+v", g)
	}
	// What setup adds is no gap.
	pg.Exec("CREATE TABLE later (id int PRIMARY KEY)")
	s.must("setup")
	s.eventually("SELECT count() FROM audit_logs WHERE action = 'publication_changed' AND new_values LIKE '%public.later%published from now on%'", "1")
	s.eventually(count, fmt.Sprint(n))
	// A publication that goes away ends the stream.
	pg.Exec("DROP PUBLICATION " + publication)
	s.endsWith(5, "publication_missing")
	s.stop()
}
