package baseline

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// After a crash the position of the newest stored entry tells which chunks are
// done, and nothing else does.
func TestRecoverGoesOnBehindWhatIsStored(t *testing.T) {
	f := func(newest audit.LSN, want ...string) {
		t.Helper()
		s := State{Key: []string{"k0"}, Chunks: []step{{Key: []string{"k1"}, After: 100}, {Key: []string{"k2"}, After: 200}, {Key: []string{"k3"}, After: 300}}}
		s.recover(newest)
		if !slices.Equal(s.Key, want) || s.Chunks != nil {
			t.Errorf("newest %s: goes on behind %v with %d chunks, want %v", newest, s.Key, len(s.Chunks), want)
		}
	}
	f(0, "k0")
	f(99, "k0")
	f(150, "k1")
	f(350, "k3")
}

// A chunk leaves the list when its entries are stored; one without entries when
// those before it are.
func TestStoredTakesWholeChunksInOrder(t *testing.T) {
	s := State{Chunks: []step{{Key: []string{"a"}, At: 10, Entries: 5}, {Key: []string{"b"}, At: 20}, {Key: []string{"c"}, At: 30, Entries: 1}, {Key: []string{"d"}}}}
	f := func(position audit.LSN, key string, left int) {
		t.Helper()
		s.stored(position)
		if strings.Join(s.Key, "") != key || len(s.Chunks) != left {
			t.Errorf("stored up to %s: key %v, %d left, want %s, %d", position, s.Key, len(s.Chunks), key, left)
		}
	}
	f(9, "", 4)
	f(10, "b", 2)
	f(40, "c", 1) // the last one has no outcome yet
	if got := s.last(); !slices.Equal(got, []string{"d"}) {
		t.Errorf("the next chunk begins behind %v", got)
	}
}

func TestPending(t *testing.T) {
	for _, c := range []struct {
		s    State
		want bool
	}{
		{State{Phase: Completed, Version: "1"}, true}, // written anew since
		{State{Phase: Completed, Version: "1", Rewritten: "700"}, false},
		{State{Phase: Completed, Version: "0", Rewritten: "700"}, true}, // taken out and put back
		{State{Phase: Completed, Version: "1", Rewritten: "700", Shape: "other"}, true},
		{State{Phase: Completed, Version: "1", Rewritten: "700", Shape: "same"}, false},
		{State{Phase: Skipped, Version: "1", Rewritten: "700", Limit: 100}, false},
		{State{Phase: Skipped, Version: "1", Limit: 100}, true},
		{State{Phase: Skipped, Version: "1", Rewritten: "700", Limit: 99}, true},
		{State{Phase: Asked, Version: "1"}, true},
		{State{Phase: Blocked, Version: "1"}, true},
		{State{Phase: Running, Version: "1"}, true},
	} {
		if got := c.s.pending(&table{Version: "1", Rewritten: "700", Shape: "same"}, 100); got != c.want {
			t.Errorf("%+v: pending is %t", c.s, got)
		}
	}
	// Where event triggers tell, a column more is no reason; nor is a state that
	// an older version saved, or a table that was never written anew.
	told := State{Phase: Completed, Version: "1", Shape: "other"}
	if told.pending(&table{Version: "1", Shape: "same", Told: true}, 100) {
		t.Error("a table with another column is read again although the log tells of the column")
	}
	if old := (State{Phase: Completed, Version: "1"}); old.pending(&table{Version: "1", Shape: "same"}, 100) {
		t.Error("a table whose shape nobody noted is read again")
	}
}

// The rows behind a key are asked for by the operators that the index orders
// by: the search path does not lead to those of an extension.
func TestQueryBehindAKey(t *testing.T) {
	rel := &audit.Relation{Columns: []audit.Column{{Name: "a"}, {Name: `b"`}}}
	plain := keyColumn{Name: "a", Type: "text", Less: "OPERATOR(pg_catalog.<)", Greater: "OPERATOR(pg_catalog.>)"}
	odd := keyColumn{Name: `b"`, Type: "ext.citext", Collation: "pg_catalog.C", Less: "OPERATOR(ext.<)", Greater: "OPERATOR(ext.>)"}
	for _, c := range []struct {
		name  string
		table table
		after []string
		want  string
	}{
		{"the first chunk", table{Schema: "s", Name: "t", Key: []keyColumn{plain}}, nil,
			`SELECT "a", "b""" FROM ONLY "s"."t" ORDER BY "a" USING OPERATOR(pg_catalog.<) LIMIT 5`},
		{"behind a key with a filter", table{Schema: "s", Name: "t", Filter: "a > 1", Key: []keyColumn{plain}}, []string{"it's"},
			`SELECT "a", "b""" FROM ONLY "s"."t" WHERE (a > 1) AND ROW("a") OPERATOR(pg_catalog.>) ROW('it''s'::text) ORDER BY "a" USING OPERATOR(pg_catalog.<) LIMIT 5`},
		{"operators of two schemas", table{Schema: "s", Name: "t", Key: []keyColumn{plain, odd}}, []string{"x", "y"},
			`SELECT "a", "b""" FROM ONLY "s"."t" WHERE (("a" OPERATOR(pg_catalog.>) 'x'::text) OR ` +
				`(NOT "a" OPERATOR(pg_catalog.>) 'x'::text AND NOT "a" OPERATOR(pg_catalog.<) 'x'::text AND "b""" COLLATE pg_catalog.C OPERATOR(ext.>) 'y'::ext.citext)) ` +
				`ORDER BY "a" USING OPERATOR(pg_catalog.<), "b""" COLLATE pg_catalog.C USING OPERATOR(ext.<) LIMIT 5`},
		{"no key, published in the name of the root", table{Schema: "s", Name: "t", Partitioned: true}, nil, `SELECT "a", "b""" FROM "s"."t" LIMIT 5`},
	} {
		if d := cmp.Diff(c.want, c.table.query(rel, c.after, 5)); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, d)
		}
	}
}
