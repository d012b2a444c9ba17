package setup

import (
	"context"
	"strings"
	"testing"
)

// What excuses a hole in the trail can be said by nobody but the sidecar and the
// owner of the keys.
func reservedEvents(t *testing.T, d *database) {
	d.stamped("CREATE ROLE app_" + d.name)
	conn := d.connect(d.dsn)
	d.execOn(conn, "SELECT pgwitness.event('gap')", "SET SESSION AUTHORIZATION app_"+d.name, "SELECT pgwitness.event('export')")
	for _, action := range []string{"start", "stop", "heartbeat", "gap", "publication_changed", "setup", "guard_changed", "table_followed", "role_changed", "audit_tampered", "alarms_acknowledged"} {
		_, err := conn.Exec(context.Background(), "SELECT pgwitness.event($1)", action)
		if err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("an application says %s: %v", action, err)
		}
	}
	if got := strings.Join(fields(d.log(), "u"), ", "); got != "E1 postgres, E1 app_"+d.name {
		t.Errorf("the log has %s", got)
	}
	// Whoever reads all tables reads the keys no more for that.
	d.exec("GRANT pg_read_all_data TO app_" + d.name)
	if _, err := conn.Exec(context.Background(), "SELECT pgwitness.event('gap')"); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("a member of pg_read_all_data says gap: %v", err)
	}
	d.exec("DROP ROLE app_" + d.name)
}
