package setup

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// stampDirectory: a stamp says who the claimed actor is at that moment, however
// he is claimed; and no failure of the look-up reaches the application.
func stampDirectory(t *testing.T, d *database) {
	d.stamped("CREATE TABLE staff (id bigint PRIMARY KEY, email text, presets text)", "CREATE TABLE staff_roles (staff bigint, role text)",
		"INSERT INTO staff VALUES (42, 'a@example.com', 'north')", "INSERT INTO staff_roles VALUES (42, 'clerk'), (42, 'auditor')")
	cfg := d.config()
	cfg.Presets = []string{"hasura"}
	cfg.Directory = Directory{Table: "public.staff", Email: "email", Team: "presets",
		Role: "(SELECT string_agg(r.role, ',' ORDER BY r.role) FROM public.staff_roles AS r WHERE r.staff = u.id)"}
	d.setup(cfg)
	if plan := d.prepare(cfg); !plan.Empty() {
		t.Errorf("the second plan is not empty:\n%s", plan)
	}
	d.log()
	found := func(statements ...string) string {
		t.Helper()
		d.exec("BEGIN")
		d.exec(statements...)
		d.exec("UPDATE orders SET note = 'x' WHERE id = 1", "COMMIT")
		lines := slices.DeleteFunc(d.log(), func(line string) bool { return !strings.HasPrefix(line, "S1 ") })
		var all struct {
			W map[string]string `json:"w"`
		}
		decode(t, lines[len(lines)-1], &all)
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(all.W)) {
			parts = append(parts, all.W[key])
		}
		return strings.Join(parts, " ")
	}
	set := func(name, value string) string {
		return fmt.Sprintf("SELECT set_config('%s', '%s', true)", name, value)
	}
	const whole = "a@example.com 42 auditor,clerk north"
	for _, c := range []struct{ name, value, want string }{
		{"audit.actor_id", "42", whole},
		{"audit.context", `{"actor_id":"42"}`, whole},
		{"hasura.user", `{"x-hasura-user-id":"42"}`, whole},
		{"audit.actor_id", "43", "43"},
		{"audit.actor_id", "system:sync", ""},
		{"audit.actor_id", "99999999999999999999", ""},
		{"audit.reason_code", "damaged", ""},
		{"audit.context", `{"actor_id":`, ""},
	} {
		if got := found(set(c.name, c.value)); got != c.want {
			t.Errorf("%s = %s: found %q, want %q", c.name, c.value, got, c.want)
		}
	}
	// The role is that of the moment: of the transaction that changes it, too.
	d.exec("DELETE FROM staff_roles WHERE role = 'auditor'")
	if got := found("UPDATE staff_roles SET role = 'chief'", set("audit.actor_id", "42")); got != "a@example.com 42 chief north" {
		t.Errorf("after a change of role: %q", got)
	}
	d.exec("ALTER TABLE staff RENAME COLUMN email TO mail")
	if got := found(set("audit.actor_id", "42")); got != "42703" {
		t.Errorf("a column is gone: %q", got)
	}
	d.exec("DROP TABLE staff")
	if got := found(set("audit.actor_id", "42")); got == "" || strings.Contains(got, "42 ") {
		t.Errorf("the table is gone: %q", got)
	}
	d.setup(d.config())
	if got := found(set("audit.actor_id", "42")); got != "" {
		t.Errorf("no longer configured: %q", got)
	}
}
