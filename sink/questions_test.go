package sink_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/sink"
)

// A trail that was begun before there were projections gets them, old entries
// and new ones, and an insert makes none by itself.
func TestAnOldTrailGetsProjections(t *testing.T) {
	tr := newTrail(t)
	table := tr.Database + ".audit_logs"
	for _, name := range []string{"by_resource", "by_actor", "actor_emails"} {
		tr.Exec("ALTER TABLE " + table + " DROP PROJECTION " + name)
	}
	tr.Exec("ALTER TABLE " + table + " DROP INDEX by_time, DROP INDEX by_change")
	tr.Exec("ALTER TABLE " + tr.Database + ".schema_versions DELETE WHERE version_id >= 10 SETTINGS mutations_sync = 2")
	s := tr.sink()
	head := insert(t, s, genesis(), 100)
	if _, err := sink.Migrate(t.Context(), tr.server(engine.Admin)); err != nil {
		t.Fatal(err)
	}
	const projected = "SELECT countIf(length(projections) = 3) FROM system.parts WHERE active AND table = 'audit_logs' AND database = "
	deadline := time.Now().Add(time.Minute)
	for tr.Value(projected+"'"+tr.Database+"'") != "1" {
		if time.Now().After(deadline) {
			t.Fatal("the old part has no projections: ", tr.Value("SELECT toString(groupArray((name, projections))) FROM system.parts WHERE active AND database = '"+tr.Database+"'"))
		}
	}
	if got := tr.Value("SELECT count() FROM " + table + " WHERE actor_id = 'alice' AND new_values != ''"); got != "100" {
		t.Errorf("%s entries of alice, want 100", got)
	}
	tr.mustHold(insert(t, s, head, 100))
	if got := tr.Value(projected + "'" + tr.Database + "'"); got != "1" {
		t.Errorf("%s parts have projections behind an insert, want the old one alone", got)
	}
}

// The parts of a month become one when the last of them is old enough, which is
// made to be soon here.
func TestAMonthThatIsOverBecomesOnePart(t *testing.T) {
	tr := newTrail(t)
	table := tr.Database + ".audit_logs"
	if got := tr.Value("SELECT engine_full FROM system.tables WHERE name = 'audit_logs' AND database = '" + tr.Database + "'"); !strings.Contains(got, "min_age_to_force_merge_seconds = 172800, min_age_to_force_merge_on_partition_only = 1") {
		t.Fatalf("audit_logs is %s", got)
	}
	s := tr.sink()
	head := insert(t, s, genesis(), 10)
	head = insert(t, s, head, 10)
	tr.Exec("ALTER TABLE " + table + " MODIFY SETTING min_age_to_force_merge_seconds = 1, merge_selecting_sleep_ms = 100, max_merge_selecting_sleep_ms = 100")
	const parts = "SELECT count() FROM system.parts WHERE active AND table = 'audit_logs' AND database = "
	for deadline := time.Now().Add(time.Minute); tr.Value(parts+"'"+tr.Database+"'") != "1"; {
		if time.Now().After(deadline) {
			t.Fatal("there are still ", tr.Value(parts+"'"+tr.Database+"'"), " parts")
		}
	}
	tr.mustHold(head)
}
