package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/test/harness"
)

// readerAct is an entry about somebody who read or verified the trail.
type readerAct struct {
	Action, Resource, ID, Actor, Type string
	Details                           map[string]any
}

// Whoever reads the trail by a verb, takes it away, or verifies it leaves an
// entry that says who he is and what he asked for, and so does a verification
// that fails. Where the audited database is away the trail can be read all the
// same, and a warning says that nobody will know.
func TestReadsAreEntries(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE orders (id int PRIMARY KEY, status text)")
	s := newSidecar(t, pg, ch, `
streams:
  - name: reads
    postgres: {dsn: "${SHOP_DSN}", idle_interval: 500ms}
    heartbeat_interval: 0s
    tables: [{name: public.orders, resource: order}]
`)
	s.start()
	pg.Exec("INSERT INTO orders VALUES (1, 'placed')")
	s.sync(time.Minute)

	const carla, nightly = "carla", "cron:nightly-verify"
	s.by(carla, 0, "trail", "order", "1", "--since", "1h", "--limit", "5")
	s.by(carla, 0, "trail", "--json", "--actor", "ruth.levi@shop.example")
	s.by(carla, 0, "state", "order", "1")
	s.by(carla, 1, "trail", "order", "1", "--reason", "x", "--no-reason") // cannot be asked
	s.by(nightly, 0, "verify", "--continuity")
	s.withDatabase(t, "postgres://nobody@127.0.0.1:1/nowhere", func(away *sidecar) {
		if out := away.by(carla, 0, "trail", "order", "1"); !strings.Contains(out, "created order 1") || !strings.Contains(out, "not recorded in the trail") {
			t.Errorf("without the audited database the trail says:\n%s", out)
		}
	})
	s.sync(time.Minute)
	if out := s.by(carla, 0, "trail", "--action", "verify"); !strings.Contains(out, "cron:nightly-verify (cron) verified the trail") {
		t.Errorf("the verification is told as:\n%s", out)
	}

	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	read := func(action, verb string, asked map[string]any) readerAct {
		return readerAct{action, "pgwitness.trail", "reads", "carla", "human", map[string]any{"verb": verb, "asked": asked, "reads_as": "reader", "host": host}}
	}
	got := s.readerActs(t)
	for i, keys := range [][]string{{"since"}, nil, {"at"}} {
		for _, key := range keys { // moments are as they are
			if asked, ok := got[i].Details["asked"].(map[string]any); ok && asked[key] != "" {
				asked[key] = "then"
			}
		}
	}
	verified := got[len(got)-1]
	for _, key := range []string{"size", "checked", "seconds", "head"} {
		if verified.Details[key] == nil {
			t.Errorf("the verification does not say its %s", key)
		}
		delete(verified.Details, key)
	}
	want := []readerAct{
		read("read", "trail", map[string]any{"type": "order", "id": "1", "since": "then", "limit": "5"}),
		read("export", "trail", map[string]any{"actor": "an e-mail address", "limit": "1000"}),
		read("read", "state", map[string]any{"type": "order", "id": "1", "at": "then"}),
		{"verify", "pgwitness.stream", "reads", "cron:nightly-verify", "cron", map[string]any{
			"holds": true, "complete": true, "from": 0.0, "findings": 0.0, "continuity": true, "reconcile": false, "host": host,
			"verdicts": map[string]any{"integrity": "holds", "completeness": "holds", "freshness": "not_checked", "anchoring": "not_checked", "openings": "holds"},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("acts of readers (-want +got):\n%s", diff)
	}

	auditor := "auditor_" + pg.Database
	pg.Exec("CREATE ROLE " + auditor + " LOGIN PASSWORD 'secret'")
	t.Cleanup(func() { pg.Exec("DROP ROLE " + auditor) })
	s.withDatabase(t, pg.DSNAs(auditor, "secret"), func(s *sidecar) { s.by(carla, 0, "verify", "--tail", "2") })
	s.sync(time.Minute)
	if n := s.query("SELECT count() FROM audit_logs WHERE action = 'verify' AND db_user = '" + auditor + "'"); n != "1" {
		t.Errorf("%s verifications of a role without rights are in the trail, want 1", n)
	}

	ch.Exec("ALTER TABLE " + ch.Database + ".audit_logs UPDATE actor_id = 'mallory' WHERE sequence = 1 SETTINGS mutations_sync = 2")
	s.by(carla, 3, "verify")
	s.sync(time.Minute)
	all := s.readerActs(t)
	if last := all[len(all)-1]; last.Details["holds"] != false || last.Details["findings"] != 1.0 {
		t.Errorf("the failure is told as %v", last)
	}
}

// by runs a verb in somebody's name, which must end with a code, and returns
// what it printed.
func (s *sidecar) by(operator string, code int, args ...string) string {
	s.t.Helper()
	c := s.command(args...)
	c.Env = append(c.Env, "PGWITNESS_OPERATOR="+operator)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		s.t.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("pgwitness %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// withDatabase calls use with the same configuration, but another DSN of the
// audited database.
func (s *sidecar) withDatabase(t *testing.T, dsn string, use func(*sidecar)) {
	t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "other.yaml")
	other := strings.ReplaceAll(string(text), s.pg.DSN(), dsn)
	if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	use(&sidecar{t: t, pg: s.pg, ch: s.ch, file: file, binary: s.binary, cfg: s.cfg})
}

func (s *sidecar) readerActs(t *testing.T) []readerAct {
	t.Helper()
	var acts []readerAct
	s.ch.Each(func(scan func(...any)) {
		var a readerAct
		var details string
		scan(&a.Action, &a.Resource, &a.ID, &a.Actor, &a.Type, &details)
		if err := json.Unmarshal([]byte(details), &a.Details); err != nil {
			t.Fatal(err)
		}
		acts = append(acts, a)
	}, `
		SELECT toString(action), ifNull(toString(resource_type), ''), ifNull(resource_id, ''), ifNull(toString(actor_id), ''), ifNull(toString(actor_type), ''), ifNull(new_values, '{}')
		FROM audit_logs WHERE action IN ('verify', 'read', 'export') AND application_name = 'pgwitness reader'
		AND NOT (action = 'read' AND JSONExtractString(new_values, 'asked', 'action') = 'verify') ORDER BY sequence`)
	return acts
}
