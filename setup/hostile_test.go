package setup

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// hostileSearchPath puts a schema with traps in front of pg_catalog: functions
// and operators of the names that the stamps use, and types. Whoever steps into
// one with the rights of the owner leaves a trace in the table caught.
func hostileSearchPath(t *testing.T, d *database) {
	d.stamped("CREATE ROLE mallory_"+d.name, "GRANT ALL ON customers TO mallory_"+d.name,
		"CREATE SCHEMA evil", "CREATE TABLE evil.caught (what text)", "GRANT ALL ON SCHEMA evil TO PUBLIC", "GRANT ALL ON evil.caught TO PUBLIC")
	trap := func(name, arguments, returns, value string) string {
		return fmt.Sprintf(`CREATE FUNCTION evil.%[1]s(%[2]s) RETURNS %[3]s LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO evil.caught VALUES (pg_catalog.textcat('%[1]s as ', current_user::pg_catalog.text)); RETURN %[4]s; END $$;`, name, arguments, returns, value)
	}
	d.exec(
		trap("concat_ws", "VARIADIC text[]", "text", "'x'"),
		// The very types that the stamp calls it with, which goes before VARIADIC "any".
		trap("concat_ws", "text, xid8, integer, text, text, text, bigint, text"+strings.Repeat(", text", 13), "text", "'x'"), trap("concat", "VARIADIC text[]", "text", "'x'"),
		trap("current_setting", "text, boolean", "text", "'x'"), trap("set_config", "text, text, boolean", "text", "'x'"),
		trap("sha256", "bytea", "bytea", "'x'::bytea"), trap("to_json", "text", "json", "'1'"), trap("texteq", "text, text", "boolean", "true"),
		trap("current_query", "", "text", "'x'"), trap("substr", "text, integer", "text", "'x'"), trap("length", "text", "integer", "1"),
		trap("convert_to", "text, name", "bytea", "'x'::bytea"), trap("pg_backend_pid", "", "integer", "1"), trap("left", "text, integer", "text", "'x'"),
		trap("pg_trigger_depth", "", "integer", "1"), trap("pg_current_xact_id", "", "xid8", "'1'"), trap("strpos", "text, text", "integer", "1"),
		trap("pg_logical_emit_message", "boolean, text, bytea", "pg_lsn", "'0/0'"), trap("host", "inet", "text", "'x'"), trap("rtrim", "text, text", "text", "'x'"),
		trap("eq", "text, text", "boolean", "true"), trap("gt", "integer, integer", "boolean", "true"), trap("cat", "text, text", "text", "'x'"),
		trap("catb", "bytea, bytea", "bytea", "'x'::bytea"), trap("minus", "integer, integer", "integer", "0"), trap("islike", "text, text", "boolean", "true"),
		`CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
		 CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
		 CREATE OPERATOR evil.> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.gt);
		 CREATE OPERATOR evil.- (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.minus);
		 CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.cat);
		 CREATE OPERATOR evil.|| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.catb);
		 CREATE OPERATOR evil.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.islike);
		 CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.eq(VALUE, '')); CREATE DOMAIN evil.pg_lsn AS pg_catalog.pg_lsn;
		 CREATE TABLE evil.secret (ipad bytea)`)

	conn := d.connect(d.dsn) // no plan of its session is older than the traps
	d.execOn(conn, "SET search_path = evil, pg_catalog, pg_temp, public", "SET ROLE mallory_"+d.name)
	d.execOn(conn, "SELECT concat_ws(VARIADIC ARRAY['a'::pg_catalog.text])")
	if got := d.value("SELECT string_agg(what, ' ') FROM evil.caught"); got != "concat_ws as mallory_"+d.name {
		t.Fatalf("the traps do not work: %q", got)
	}
	d.exec("TRUNCATE evil.caught")

	d.execOn(conn, "SET audit.actor_id = 'm'", "UPDATE public.customers SET name = 'x' WHERE id OPERATOR(pg_catalog.=) 1 /* c */",
		"SELECT pgwitness.event('looked')")
	want(t, fields(d.log(), "u", "r", "actor_id"), "S1 postgres mallory_"+d.name+" m", "update customers", "E1 postgres mallory_"+d.name+" m")
	if got := d.value("SELECT string_agg(DISTINCT what, ', ') FROM evil.caught"); got != "" {
		t.Errorf("the stamp ran what a client made: %s", got)
	}
	d.exec("DROP OWNED BY mallory_"+d.name, "DROP ROLE mallory_"+d.name)
}

// stampNeverRaises: whatever a client sets, its statement goes through, and
// what it claimed is kept.
func stampNeverRaises(t *testing.T, d *database) {
	d.stamped()
	write := func(name string, setting ...string) []string {
		t.Helper()
		conn := d.connect(d.dsn)
		defer conn.Close(context.Background())
		for _, s := range append(setting, "UPDATE public.customers SET name = 'x' WHERE id = 1") {
			if _, err := conn.Exec(context.Background(), s, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Errorf("%s: %.200s: %v", name, s, err)
			}
		}
		lines := d.log()
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "S1 ") || lines[1] != "update customers" {
			t.Errorf("%s: the log has %.300q", name, lines)
		}
		return lines
	}
	megabyte := strings.Repeat("0123456789abcdef", 1<<16)
	cases := map[string]string{
		"invalid JSON": `{"actor_id": `, "quotes": `"\''"`, "control characters": "\x01\x1e\x1f\n\t",
		"only separators": "\x1e\x1f", "comment": "*/ /* --", "emoji": "👩‍⚖️", "escape": `\u0000 \x00 %00`,
		"a megabyte": megabyte, "a megabyte of quotes": strings.Repeat(`"`, 1<<20),
	}
	for name, value := range cases {
		for _, variable := range []string{"context", "actor_id"} {
			lines := write(name, "SET audit."+variable+" = "+literal(value))
			got := fields(lines, variable)[0]
			if wanted := "S1 " + value; got != wanted {
				if variable == "context" || len(value) <= 8192 {
					if strings.Trim(value, "\x1e\x1f") != "" {
						t.Errorf("%s of %d bytes was kept as %d bytes", variable, len(value), len(got)-3)
					}
				} else if got != wanted[:3+8192] || !strings.Contains(lines[0], `"cc":true`) {
					t.Errorf("%s: %d bytes were cut to %d without a sign", variable, len(value), len(got)-3)
				}
			}
		}
	}
	for _, setting := range []string{
		"SET standard_conforming_strings = off", "SET backslash_quote = on", "SET transform_null_equals = on", "SET quote_all_identifiers = on",
		"SET search_path = ''", "SET search_path = pg_temp", "SET search_path = nowhere", "SET bytea_output = escape", "SET datestyle = german",
		"SET plan_cache_mode = force_custom_plan", "SET row_security = off", "SET client_encoding = latin1", "SET default_transaction_isolation = serializable",
		"SET xmloption = document", "SET extra_float_digits = -15", "SET work_mem = '64kB'", "SET jit_above_cost = 0", "SET exit_on_error = on",
		"SET check_function_bodies = off", "SET plpgsql.extra_errors = 'all'", "SET plpgsql.variable_conflict = use_column", "SET array_nulls = off",
		"SET lock_timeout = 1", "SET pgwitness.stamped = 'x'", "SET audit.unknown = 'x'", "SET session_replication_role = replica",
		"SET debug_print_plan = on", "SET client_min_messages = debug5", "SET enable_seqscan = off", "SET constraint_exclusion = on",
	} {
		write(setting, setting)
	}
	write("escape strings", "SET standard_conforming_strings = off", `SET audit.context = E'\\x41'`)
	write("discarded plans", "BEGIN", "UPDATE public.customers SET name = 'x' WHERE id = 1", "ROLLBACK", "DISCARD ALL")
}

// keysStaySecret: without its owner's help no role gets at the key.
func keysStaySecret(t *testing.T, d *database) {
	d.stamped("CREATE ROLE reader_"+d.name+" IN ROLE pg_read_all_data", "GRANT ALL ON customers TO reader_"+d.name)
	conn := d.connect(d.dsn)
	d.execOn(conn, "SET ROLE reader_"+d.name)
	for _, attempt := range []string{
		"SELECT pgwitness.inner_pad()", "SELECT pgwitness.outer_pad()", "SELECT pgwitness.connection_facts()",
		"SELECT pgwitness.message('S1', 0, NULL, NULL)", "INSERT INTO pgwitness.secret SELECT * FROM pgwitness.secret",
		"CREATE TABLE pgwitness.mine ()", "UPDATE pgwitness.secret SET key = key",
	} {
		if _, err := conn.Exec(context.Background(), attempt); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", attempt, err)
		}
	}
	var n int
	if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM pgwitness.secret").Scan(&n); err == nil && n > 0 {
		t.Error("a member of pg_read_all_data reads the keys")
	}

	// The key is a constant of a plan, and any role may have plans printed.
	var printed strings.Builder
	cfg, err := pgx.ParseConfig(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { printed.WriteString(n.Message + n.Detail) }
	spy, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer spy.Close(context.Background())
	d.execOn(spy, "SET ROLE reader_"+d.name, "SET client_min_messages = log", "SET debug_print_plan = on", "SET debug_pretty_print = off",
		"UPDATE customers SET name = 'x' WHERE id = 1", "SELECT pgwitness.event('looked')")
	if !strings.Contains(printed.String(), "PLANNEDSTMT") {
		t.Fatal("no plans were printed: the test is blind")
	}
	dump := strings.Join(strings.Fields(printed.String()), " ") // lines are broken anywhere
	for _, pad := range []string{"ipad", "opad"} {
		key, err := hex.DecodeString(d.value("SELECT encode(" + pad + ", 'hex') FROM pgwitness.secret"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(dump, datum(key[:16])) {
			t.Errorf("%s was printed with a plan", pad)
		}
	}
	d.exec("DROP OWNED BY reader_"+d.name, "DROP ROLE reader_"+d.name)
}

// datum is how a printed plan shows the bytes of a constant: signed numbers.
func datum(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, " %d", int8(c))
	}
	return s.String() + " "
}

// otherEncodings: what has no place in UTF-8 is replaced, and said to be.
func otherEncodings(t *testing.T, d *database) {
	latin := newDatabase(t, d.server, d.major, d.name+"_latin1", "ENCODING latin1 TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	latin.exec("SET client_encoding = utf8")
	latin.stamped()
	latin.exec("BEGIN; SET LOCAL audit.actor_id = 'Zoë'; UPDATE customers SET name = 'ë' WHERE id = 1; COMMIT")
	want(t, fields(latin.log(), "actor_id", "err"), "S1 Zoë <nil>", "update customers")

	ascii := newDatabase(t, d.server, d.major, d.name+"_ascii", "ENCODING sql_ascii TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	ascii.stamped()
	ascii.exec("BEGIN; SET LOCAL audit.actor_id = 'Zoë'; UPDATE customers SET name = 'a' WHERE id = 1; COMMIT",
		"BEGIN; SELECT set_config('audit.actor_id', 'Zo' || E'\\xeb', true); UPDATE customers SET name = 'b' WHERE id = 1; COMMIT")
	want(t, fields(ascii.log(), "actor_id", "u", "err"), "S1 Zoë postgres <nil>", "update customers", "S1 Zo? postgres 22021", "update customers")

	// Without the keys there is no stamp, and the statement goes through.
	ascii.exec("DELETE FROM pgwitness.secret", "UPDATE customers SET name = 'c' WHERE id = 1")
	fresh := ascii.connect(ascii.dsn)
	ascii.execOn(fresh, "UPDATE customers SET name = 'd' WHERE id = 1")
	ascii.exec("DROP TABLE pgwitness.secret")
	ascii.execOn(ascii.connect(ascii.dsn), "UPDATE customers SET name = 'e' WHERE id = 1")
	if f := ascii.find(ascii.config(), "server_encoding")[""]; f.Severity != "warning" {
		t.Errorf("finding %+v", f)
	}
}

func events(t *testing.T, d *database) {
	d.stamped("CREATE ROLE app_" + d.name)
	conn := d.connect(d.dsn)
	d.execOn(conn, "SET ROLE app_"+d.name, "SET audit.actor_id = 'alice'", "SET audit.reason_code = 'session'")
	d.execOn(conn, `SELECT pgwitness.event('export', 'report', '7', '{"rows": 10, "filter": null}', 'audit', 'quarter''s end')`,
		"SELECT pgwitness.event(action => 'login_failed', transactional => NULL)")
	lines := d.log()
	want(t, fields(lines, "u", "r", "actor_id"), "E1 postgres app_"+d.name+" alice", "E1 postgres app_"+d.name+" alice")
	for i, e := range []string{
		`"e":{"action":"export","resource_type":"report","resource_id":"7","details":{"rows": 10, "filter": null},"reason_code":"audit","reason_note":"quarter's end"}`,
		`"e":{"action":"login_failed"}`,
	} {
		if !strings.Contains(lines[i], e) || !strings.Contains(lines[i], `"at":1`) {
			t.Errorf("event %s lacks %s", lines[i], e)
		}
	}

	// A rolled back event is gone, unless it is not transactional.
	d.execOn(conn, "BEGIN", "SELECT pgwitness.event('approve')", "SELECT pgwitness.event('reject', transactional => false)", "ROLLBACK")
	d.exec("UPDATE orders SET note = 'x' WHERE id = 1") // a commit behind it, with which the log is flushed
	lines = d.log()
	if len(lines) != 3 || !strings.Contains(lines[0], `"action":"reject"`) {
		t.Errorf("after a rollback the log has %q", lines)
	}
	for _, call := range []string{"SELECT pgwitness.event(NULL)", "SELECT pgwitness.event('')"} {
		if _, err := conn.Exec(context.Background(), call); err == nil || !strings.Contains(err.Error(), "22023") {
			t.Errorf("%s: %v", call, err)
		}
	}
	d.exec("DROP ROLE app_" + d.name)
}
