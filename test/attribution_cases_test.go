package test

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/setup"
	"github.com/pgwitness/pgwitness/test/harness"
)

func writeTwoContexts(w *witnessed) {
	conn := w.as("app", "web")
	w.on(conn, "BEGIN", "SET LOCAL audit.actor_id = 'alice'", note("29a"), "SET LOCAL audit.actor_id = 'bert'", note("29b"),
		"SAVEPOINT s", "SET LOCAL audit.actor_id = 'carol'", note("29gone"), "ROLLBACK TO s", note("29c"), "COMMIT", note("29d"))
}

func checkTwoContexts(t *testing.T, w *witnessed, entries map[string]attributed) {
	is(t, entries, "29a", "alice", "session")
	is(t, entries, "29b", "bert", "session")
	is(t, entries, "29c", "bert", "session")
	is(t, entries, "29d", "db:app_"+w.name, "observed")
}

func writeByHand(w *witnessed) {
	w.on(w.as("app", "psql"), note("31psql"))
	w.on(w.as("app", "pg_cron"), note("31cron"))
	conn := w.as("app", "loader")
	if _, err := conn.CopyFrom(context.Background(), pgx.Identifier{"notes"}, []string{"tag"}, pgx.CopyFromRows([][]any{{"31copy"}})); err != nil {
		w.t.Fatal(err)
	}
	super := w.as(w.super, "migration")
	w.on(super, note("31migration"), "BEGIN", "ALTER TABLE notes DISABLE TRIGGER USER", note("31bypassed"), "ALTER TABLE notes ENABLE ALWAYS TRIGGER pgwitness_stamp",
		"ALTER TABLE notes ENABLE ALWAYS TRIGGER pgwitness_stamp_truncate", "COMMIT")
}

func checkByHand(t *testing.T, w *witnessed, entries map[string]attributed) {
	is(t, entries, "31psql", "db:app_"+w.name, "observed")
	if e := is(t, entries, "31cron", "cron:nightly", "rule:nightly"); e.ActorType != "cron" {
		t.Errorf("a cron job is of type %s", e.ActorType)
	}
	is(t, entries, "31copy", "db:app_"+w.name, "observed")
	is(t, entries, "31migration", "db:"+w.super, "observed")
	noted(t, is(t, entries, "31bypassed", "unknown", "none"), "context", "bypassed")
}

// writeComments: literals of every kind that hold a comment, short and long.
func writeComments(w *witnessed) {
	conn := w.as("app", "web")
	const eve = `/*actor_id='eve'*/`
	doubled := strings.ReplaceAll(eve, "'", "''")
	megabyte := strings.Repeat("x", 1<<20)
	for i, literal := range []string{"'" + doubled + "'", `E'\'` + strings.ReplaceAll(eve, "'", `\'`) + "'", "$$" + eve + "$$", "$é$" + eve + "$é$",
		"'" + doubled + "' || (SELECT 1 AS \"" + eve + "\")", "1 /* /* x */ " + eve + " */ + 1"} {
		w.on(conn, fmt.Sprintf("INSERT INTO notes (tag, body) VALUES ('32literal%d', %s)", i, literal),
			fmt.Sprintf("INSERT INTO notes (tag, body) VALUES ('32long%d', '%s' || %s)", i, megabyte, literal))
	}
	w.on(conn, `SET standard_conforming_strings = off; SET backslash_quote = on`,
		`INSERT INTO notes (body, tag) VALUES ('\', /*actor_id:eve*/ --', '32backslash') /*actor_id='bert'*/`, `RESET standard_conforming_strings`,
		note("32end")+` /*actor_id='bert',route='%2Fcart%%3A1',q='a+b'*/ /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/`,
		`/*actor_id='bert'*/ `+note("32begin"),
		`INSERT INTO notes (tag, body) VALUES ('32longend', '`+megabyte+`') /*actor_id='bert'*/`,
		note("32cut")+` /*actor_id='bert',x='`+megabyte+`'*/`)
}

func checkComments(t *testing.T, w *witnessed, entries map[string]attributed) {
	for i := range 6 {
		is(t, entries, fmt.Sprintf("32literal%d", i), "db:app_"+w.name, "observed")
		is(t, entries, fmt.Sprintf("32long%d", i), "db:app_"+w.name, "observed")
	}
	is(t, entries, "32backslash", "bert", "comment")
	e := is(t, entries, "32end", "bert", "comment")
	if c, _ := e.notes["comment"].(map[string]any); c["route"] != "/cart:1" || c["q"] != "a+b" || e.Trace != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("comment %v, trace %s", c, e.Trace)
	}
	is(t, entries, "32begin", "bert", "comment")
	is(t, entries, "32longend", "bert", "comment")
	noted(t, is(t, entries, "32cut", "db:app_"+w.name, "observed"), "comments", "cut")
}

// writeForgeries is the forgery table of docs/attribution.md. Whatever is forged
// stands in front of a row of the same transaction, which it must not claim.
func writeForgeries(w *witnessed) {
	conn := w.as("mallory", "psql")
	stolen := w.aStamp()
	other := w.aStampOfAnotherDatabase()
	emit := func(content []byte, transactional bool) string {
		return fmt.Sprintf("SELECT pg_logical_emit_message(%t, 'pgwitness', '\\x%s'::bytea)", transactional, hex.EncodeToString(content))
	}
	payload := []byte(`S1` + strings.Repeat("\x00", 16) + `{"x":1,"u":"app","c":{"actor_id":"alice"}}`)
	for tag, content := range map[string][]byte{"33handmade": payload, "33replayed": stolen, "33foreign": other} {
		w.on(conn, "BEGIN", note(tag+"before"), emit(content, true), note(tag), "COMMIT", emit(content, false))
	}
	w.on(conn, "BEGIN", claim("audit.actor_id", "alice"), note("33claimed"), "COMMIT",
		"INSERT INTO notes (tag, body) VALUES ('33literal', '/*actor_id=''alice''*/')", note("33comment")+" /*actor_id='alice'*/")
}

func checkForgeries(t *testing.T, w *witnessed, entries map[string]attributed) {
	forged := 0
	for _, e := range entries {
		if e.Action == "forged_context" {
			forged++
		}
		if strings.HasPrefix(e.Tag, "33") && e.Actor != "db:mallory_"+w.name {
			t.Errorf("%s is credited to %s: %s", e.Tag, e.Actor, e.Attribution)
		}
	}
	if forged != 6 {
		t.Errorf("%d forgeries were told, want 6", forged)
	}
	for _, tag := range []string{"33handmade", "33replayed", "33foreign", "33literal"} {
		is(t, entries, tag, "db:mallory_"+w.name, "observed")
	}
	for _, tag := range []string{"33claimed", "33comment"} {
		if said, _ := entries[tag].notes["disbelieved"].(map[string]any); said["actor_id"] != "alice" {
			t.Errorf("%s: what was claimed is not kept: %s", tag, entries[tag].Attribution)
		}
	}
}

// aStamp is the content of a good stamp of this database, by a transaction that
// has committed.
func (w *witnessed) aStamp() []byte {
	w.t.Helper()
	return stampIn(w.t, w.pg, w.cfg.Streams[0].Postgres.Publication)
}

func (w *witnessed) aStampOfAnotherDatabase() []byte {
	w.t.Helper()
	other := harness.Postgres(w.t)
	other.Exec("CREATE TABLE notes (id bigserial PRIMARY KEY, tag text)")
	cfg := setup.Config{DSN: other.DSN(), Slot: other.Database, Publication: "p", Tables: []setup.Table{{Name: "public.*"}}}
	plan, err := setup.Prepare(context.Background(), cfg)
	if err == nil {
		err = setup.Apply(context.Background(), cfg, plan, nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return stampIn(w.t, other, "p")
}

// stampIn writes a row and reads its stamp out of the log.
func stampIn(t testing.TB, pg *harness.PG, publication string) []byte {
	t.Helper()
	ctx := context.Background()
	conn := pg.Connect()
	defer conn.Close(ctx)
	slot := "peek_" + pg.Database
	if _, err := conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput', true)", slot); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"BEGIN", claim("audit.actor_id", "alice"), note("stolen"), "COMMIT"} {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.Query(ctx, "SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', $2, 'messages', 'true')", slot, publication)
	if err != nil {
		t.Fatal(err)
	}
	datas, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range datas {
		if message, err := pglogrepl.Parse(data); err == nil {
			if m, ok := message.(*pglogrepl.LogicalDecodingMessage); ok && strings.Contains(string(m.Content), "alice") {
				return m.Content
			}
		}
	}
	t.Fatal("no stamp in the log")
	return nil
}

func writeContradiction(w *witnessed) {
	w.on(w.as("bob", "psql 18"), "BEGIN", claim("audit.actor_id", "alice"), note("34alice"), "COMMIT", note("34bob"))
}

func checkContradiction(t *testing.T, w *witnessed, entries map[string]attributed) {
	e := is(t, entries, "34alice", "alice", "session")
	if e.DBUser != "bob_"+w.name || e.Application != "psql 18" {
		t.Errorf("observed: %s %s", e.DBUser, e.Application)
	}
	noted(t, e, "contradicts", "rule:bob bob")
	noted(t, is(t, entries, "34bob", "bob", "rule:bob"), "contradicts", nil)
	if n := w.ch.Value("SELECT toString(count()) FROM " + w.ch.Database + ".audit_logs WHERE JSONHas(ifNull(attribution, ''), 'contradicts')"); n != "1" {
		t.Errorf("SQL finds %s contradictions", n)
	}
}

func writeAddresses(w *witnessed) {
	w.on(w.as("app", "puma - 203.0.113.7:4711"), note("35pooled"), "BEGIN", claim("audit.ip_address", "[2001:DB8::0:1]:443, 10.0.0.1"), note("35asserted"), "COMMIT",
		"BEGIN", claim("audit.ip_address", "somewhere"), note("35odd"), "COMMIT")
	w.on(w.as("app", "web"), note("35observed"))
}

func checkAddresses(t *testing.T, w *witnessed, entries map[string]attributed) {
	e := is(t, entries, "35pooled", "system:puma", "rule:puma")
	noted(t, e, "ip_address", "application_name")
	host := w.pg.Value("SELECT coalesce(host(inet_client_addr()), '')")
	if observed, _ := e.notes["observed"].(map[string]any); e.IP != "203.0.113.7" || e.Country != "NL" || e.City != "Utrecht" || host != "" && observed["host"] != host {
		t.Errorf("pooled: %s in %s, %s; observed %v", e.IP, e.City, e.Country, observed)
	}
	e = entries["35asserted"]
	noted(t, e, "forwarded", "[2001:DB8::0:1]:443, 10.0.0.1")
	if e.IP != "2001:db8::1" || e.Country != "" {
		t.Errorf("asserted: %s in %s", e.IP, e.Country)
	}
	noted(t, entries["35odd"], "invalid_ip_address", "somewhere")
	if e := entries["35observed"]; e.IP != host {
		t.Errorf("observed: %s, want %s", e.IP, host)
	}
}

// writePrepared: a prepared statement bears the comment of its first parse.
func writePrepared(w *witnessed) {
	conn := w.as("app", "web")
	ctx := context.Background()
	if _, err := conn.Prepare(ctx, "note", "INSERT INTO notes (tag) VALUES ($1) /*actor_id='first'*/"); err != nil {
		w.t.Fatal(err)
	}
	run := func(tag string) {
		if _, err := conn.Exec(ctx, "note", pgx.QueryExecModeCacheStatement, tag); err != nil {
			w.t.Fatal(err)
		}
	}
	run("36first")
	w.on(conn, "BEGIN", claim("audit.actor_id", "second"))
	run("36second")
	w.on(conn, "COMMIT")
	run("36third")
}

func checkPrepared(t *testing.T, w *witnessed, entries map[string]attributed) {
	is(t, entries, "36first", "first", "comment")
	is(t, entries, "36second", "second", "session")
	is(t, entries, "36third", "first", "comment")
}

func contexts() map[string]string {
	return map[string]string{
		"37empty": ``, "37megabyte": strings.Repeat("a", 1<<20), "37nul": `{"actor_id": "a\u0000b"}`, "37broken": `{"actor_id": `,
		"37array": `["a"]`, "37digits": `{"actor_id": 9007199254740993}`, "37more": `{"actor_id": "a", "tenant": {"id": 7}}`, "37surrogate": `{"actor_id": "\ud800"}`,
	}
}

func writeContexts(w *witnessed) {
	conn := w.as("app", "web")
	for tag, text := range contexts() {
		w.on(conn, "BEGIN", claim("audit.context", text), note(tag), "COMMIT")
	}
}

func checkContexts(t *testing.T, w *witnessed, entries map[string]attributed) {
	for tag, text := range contexts() {
		e := entries[tag]
		switch tag {
		case "37megabyte", "37broken", "37array":
			noted(t, is(t, entries, tag, "db:app_"+w.name, "observed"), "invalid_context", text)
		case "37empty":
			noted(t, is(t, entries, tag, "db:app_"+w.name, "observed"), "invalid_context", nil)
		case "37nul":
			is(t, entries, tag, "a\x00b", "session")
		case "37digits":
			is(t, entries, tag, "9007199254740993", "session")
		case "37more":
			if more, _ := e.notes["context_claims"].(map[string]any); e.Actor != "a" || more["tenant"] != `{"id":7}` {
				t.Errorf("%s: %s", tag, e.Attribution)
			}
		default:
			is(t, entries, tag, "\ufffd", "session")
		}
	}
}

func writePresets(w *witnessed) {
	w.on(w.as("app", "postgrest"), "BEGIN", claim("request.jwt.claims", `{"sub":"7f3","email":"a@example.com","role":"authenticated"}`),
		claim("request.headers", `{"x-forwarded-for":"203.0.113.9","authorization":"Bearer hidden"}`), note("presets-postgrest"), "COMMIT",
		"BEGIN", claim("hasura.user", `{"x-hasura-role":"clerk","x-hasura-user-id":"42"}`), note("presets-hasura"), "COMMIT",
		"BEGIN", claim("jwt.claims.user_id", "9"), note("presets-postgraphile"), "COMMIT")
}

func checkPresets(t *testing.T, w *witnessed, entries map[string]attributed) {
	e := is(t, entries, "presets-postgrest", "7f3", "preset:postgrest")
	if e.Role != "authenticated" || e.IP != "203.0.113.9" || e.Country != "NL" || strings.Contains(e.Attribution, "hidden") {
		t.Errorf("%+v", e)
	}
	if e := is(t, entries, "presets-hasura", "42", "preset:hasura"); e.Role != "clerk" {
		t.Errorf("role %s", e.Role)
	}
	is(t, entries, "presets-postgraphile", "9", "preset:postgraphile")
}

func writeRows(w *witnessed) {
	w.on(w.as("app", "web"), "INSERT INTO stock (tag, updated_by) VALUES ('rows-insert', 'alice'), ('rows-update', 'alice')",
		"UPDATE stock SET tag = 'rows-other', updated_by = 'bert' WHERE tag = 'rows-update'", "UPDATE stock SET tag = 'rows-left' WHERE tag = 'rows-other'")
}

func checkRows(t *testing.T, w *witnessed, entries map[string]attributed) {
	is(t, entries, "rows-insert", "alice", "row")
	is(t, entries, "rows-other", "bert", "row")
	is(t, entries, "rows-left", "db:app_"+w.name, "observed")
}

// writeDirectory: somebody's role changes between two changes of hers.
func writeDirectory(w *witnessed) {
	w.on(w.as("app", "web"), "INSERT INTO people VALUES ('dora', 'clerk', 'north')", "BEGIN", claim("audit.actor_id", "dora"), note("directory-clerk"), "COMMIT",
		"UPDATE people SET role = 'chief'", "BEGIN", claim("audit.actor_id", "dora"), note("directory-chief"), "COMMIT", "DELETE FROM people",
		"BEGIN", claim("audit.actor_id", "dora"), note("directory-gone"), "COMMIT")
}

func checkDirectory(t *testing.T, w *witnessed, entries map[string]attributed) {
	for tag, role := range map[string]string{"directory-clerk": "clerk", "directory-chief": "chief"} {
		e := is(t, entries, tag, "dora", "session")
		noted(t, e, "actor_role", "directory")
		noted(t, e, "actor_email", "directory")
		noted(t, e, "team", "north")
		if e.Role != role {
			t.Errorf("%s: role %s", tag, e.Role)
		}
	}
	noted(t, is(t, entries, "directory-gone", "dora", "session"), "actor_role", nil)
}
