package test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
)

// attributed is one entry of a change, as far as it says who, where and how
// that is known.
type attributed struct {
	Tag, Action, Actor, ActorType, Role, IP, Country, City, Trace, DBUser, Application, Attribution string
	notes                                                                                           map[string]any
}

// witnessed is a sidecar over one table whose rows are told apart by a tag.
type witnessed struct {
	*sidecar
	super string // role of the superuser
	name  string // of the database: makes names of roles unique
}

const attributionConfig = `
geo: {database: %s}
streams:
  - name: who
    postgres: {dsn: "${SHOP_DSN}", idle_interval: 500ms}
    heartbeat_interval: 0s
    presets: [postgrest, hasura, postgraphile]
    directory: {table: public.people, role: role, email: "u.id || '@example.com'", team: team}
    believed_users: [%s, "bob_*", "app_*"]
    tables:
      - name: public.notes
      - name: public.stock
        actor_column: updated_by
    actors:
      - {name: bob, match: {db_user: "bob_*"}, actor: {id: bob, type: human}}
      - {name: nightly, match: {application_name: pg_cron}, actor: {id: "cron:nightly", source: cron}}
      - {name: by hand, match: {application_name: "psql*"}, actor: {source: psql}}
      - {name: puma, match: {application_name: puma}, actor: {id: "system:puma", type: system}}
`

func newWitnessed(t *testing.T) *witnessed {
	t.Helper()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE notes (id bigserial PRIMARY KEY, tag text, body text)")
	pg.Exec("CREATE TABLE people (id text PRIMARY KEY, role text, team text)")
	pg.Exec("CREATE TABLE stock (id bigserial PRIMARY KEY, tag text, updated_by text)")
	w := &witnessed{super: pg.Value("SELECT current_user"), name: pg.Database}
	for _, role := range []string{"bob_", "mallory_", "app_"} {
		pg.Exec("CREATE ROLE " + role + w.name + " LOGIN PASSWORD 'secret'; GRANT ALL ON ALL TABLES IN SCHEMA public TO " + role + w.name +
			"; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO " + role + w.name)
		t.Cleanup(func() { pg.Exec("DROP OWNED BY " + role + w.name + "; DROP ROLE " + role + w.name) })
	}
	w.sidecar = newSidecar(t, pg, ch, fmt.Sprintf(attributionConfig, geography(t), w.super))
	return w
}

// geography is a small database of places.
func geography(t *testing.T) string {
	t.Helper()
	return harness.Places(t, map[string]mmdbtype.Map{"203.0.113.0/24": {
		"country": mmdbtype.Map{"iso_code": mmdbtype.String("NL")},
		"city":    mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String("Utrecht")}},
	}})
}

// as connects as a role, with settings of the connection.
func (w *witnessed) as(role, application string) *pgx.Conn {
	w.t.Helper()
	dsn := w.pg.DSN()
	if role != w.super {
		dsn = w.pg.DSNAs(role+"_"+w.name, "secret")
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = application
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (w *witnessed) on(conn *pgx.Conn, statements ...string) {
	w.t.Helper()
	for _, s := range statements {
		if _, err := conn.Exec(context.Background(), s); err != nil {
			w.t.Fatalf("%.200s: %v", s, err)
		}
	}
}

// note inserts a row with a tag.
func note(tag string) string { return "INSERT INTO notes (tag) VALUES ('" + tag + "')" }

// claim sets a variable for the transaction.
func claim(name, value string) string {
	return "SELECT set_config('" + name + "', '" + strings.ReplaceAll(value, "'", "''") + "', true)"
}

// entries are the entries since the beginning, by tag.
func (w *witnessed) entries() map[string]attributed {
	w.t.Helper()
	w.sync(time.Minute)
	found := make(map[string]attributed)
	w.ch.Each(func(scan func(...any)) {
		var a attributed
		scan(&a.Tag, &a.Action, &a.Actor, &a.ActorType, &a.Role, &a.IP, &a.Country, &a.City, &a.Trace, &a.DBUser, &a.Application, &a.Attribution)
		if err := json.Unmarshal([]byte(a.Attribution), &a.notes); err != nil {
			w.t.Errorf("attribution of %s: %v: %.300s", a.Tag, err, a.Attribution)
		}
		found[a.Tag] = a
	}, `
		SELECT if(action = 'forged_context', toString(sequence), JSONExtractString(ifNull(new_values, ifNull(old_values, '')), 'tag')), toString(action), ifNull(toString(actor_id), ''),
		       ifNull(toString(actor_type), ''), ifNull(toString(actor_role), ''), ifNull(toString(ip_address), ''), ifNull(toString(geo_country), ''), ifNull(toString(geo_city), ''),
		       ifNull(trace_id, ''), ifNull(toString(db_user), ''), ifNull(toString(application_name), ''), ifNull(toString(attribution), '')
		FROM audit_logs WHERE table_name IS NOT NULL OR action = 'forged_context' ORDER BY sequence`)
	return found
}

// is checks the actor of a tag, and where he is known from.
func is(t *testing.T, entries map[string]attributed, tag, actor, source string) attributed {
	t.Helper()
	e, ok := entries[tag]
	if !ok {
		t.Fatalf("no entry %s", tag)
	}
	if e.Actor != actor || e.notes["actor_id"] != source {
		t.Errorf("%s: actor %q from %v, want %q from %s (%.500s)", tag, e.Actor, e.notes["actor_id"], actor, source, e.Attribution)
	}
	return e
}

// noted checks one note of the attribution.
func noted(t *testing.T, e attributed, key string, want any) {
	t.Helper()
	if got := e.notes[key]; got != want {
		t.Errorf("%s: %s is %.200v, want %.200v", e.Tag, key, got, want)
	}
}

// TestAttribution writes what the cases say, and looks at all entries at once.
func TestAttribution(t *testing.T) {
	w := newWitnessed(t)
	w.start()
	cases := []struct {
		name  string
		write func(*witnessed)
		check func(*testing.T, *witnessed, map[string]attributed)
	}{
		{"case29_two_contexts_in_one_transaction", writeTwoContexts, checkTwoContexts},
		{"case31_by_hand_cron_copy_and_bypassed", writeByHand, checkByHand},
		{"case32_forged_comments", writeComments, checkComments},
		{"case33_forged_messages", writeForgeries, checkForgeries},
		{"case34_contradictions", writeContradiction, checkContradiction},
		{"case35_poolers_and_addresses", writeAddresses, checkAddresses},
		{"case36_prepared_statements", writePrepared, checkPrepared},
		{"case37_contexts_of_any_shape", writeContexts, checkContexts},
		{"presets", writePresets, checkPresets},
		{"rows", writeRows, checkRows},
		{"directory", writeDirectory, checkDirectory},
	}
	for _, c := range cases {
		c.write(w)
	}
	entries := w.entries()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.check(t, w, entries) })
	}
	t.Run("coverage", func(t *testing.T) { checkCoverage(t, w) })
	w.stop()
	w.verified()
}

// checkCoverage: the view, as the reading user sees it, and status agree.
func checkCoverage(t *testing.T, w *witnessed) {
	rows, err := w.ch.Connect("reader").Query(context.Background(),
		"SELECT source, sum(changes), sum(attributed), sum(bypassed) FROM attribution_coverage GROUP BY source")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	bySource := make(map[string]uint64)
	for rows.Next() {
		var source string
		var changes, attributed, bypassed uint64
		if err := rows.Scan(&source, &changes, &attributed, &bypassed); err != nil {
			t.Fatal(err)
		}
		bySource[source] = changes
		unknown := source == "none" || source == "observed"
		if unknown && attributed != 0 || !unknown && attributed != changes || (source == "none") != (bypassed > 0) {
			t.Errorf("%s: %d changes, %d attributed, %d bypassed", source, changes, attributed, bypassed)
		}
	}
	for _, source := range []string{"session", "preset", "comment", "row", "rule", "observed", "none"} {
		if bySource[source] == 0 {
			t.Errorf("no change of the source %s: %v", source, bySource)
		}
	}
	var status []struct {
		Sources   []trail.SourceCount `json:"actor_sources"`
		Offenders []trail.Offender    `json:"unattributed"`
	}
	w.must("acknowledge", "--reason", "the tests tamper with triggers")
	w.sync(time.Minute) // status reads what is stored
	if err := json.Unmarshal([]byte(w.must("status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	for _, s := range status[0].Sources {
		if bySource[s.Source] != s.Changes {
			t.Errorf("status says %d of %s, the view %d", s.Changes, s.Source, bySource[s.Source])
		}
	}
	if o := status[0].Offenders; len(o) != 3 || o[0].Changes < o[1].Changes || o[0].Table != "public.notes" {
		t.Errorf("offenders %+v", o)
	}
}
