package enrich

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	f := func(tag, statement, want string) {
		t.Helper()
		if got := redact(statement, tag, nil); got != want {
			t.Errorf("redact(%q)\n got %q\nwant %q", statement, got, want)
		}
	}
	// What tells what was done is kept.
	f("CREATE TABLE", "CREATE TABLE t (\n  id int, -- the key\n  s text DEFAULT 'new' /* x */ CHECK (s IN ('new', 'old'))\n)",
		"CREATE TABLE t ( id int, s text DEFAULT 'new' CHECK (s IN ('new', 'old')) )")
	f("GRANT", `GRANT SELECT ON secrets, "Tokens" TO bob`, `GRANT SELECT ON secrets, "Tokens" TO bob`)
	f("ALTER TABLE", "ALTER TABLE users RENAME COLUMN token TO key2", "ALTER TABLE users RENAME COLUMN token TO key2")
	f("CREATE FUNCTION", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'kept' $$", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT 'kept'$$")

	// What is a password, or may hold one, is not.
	for _, secret := range []string{
		"CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'bob', password 'hunter2')",
		"ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET \"password\" 'hunter2')",
		"CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', aws_access_key 'hunter2')",
		"CREATE SUBSCRIPTION s CONNECTION 'host=h password=hunter2' PUBLICATION p",
		"CREATE SUBSCRIPTION s CONNECTION 'host=h '\n'x=hunter2' PUBLICATION p",
		"CREATE VIEW v AS SELECT * FROM dblink('postgres://bob:hunter2@h/d', 'SELECT 1')",
		"CREATE TABLE t (); CREATE ROLE bob ENCRYPTED PASSWORD 'hunter2'",
		"CREATE ROLE bob PASSWORD 'hunter2'; CREATE TABLE t ()",
		"CREATE ROLE bob PASSWORD E'hunter2\\' '; CREATE TABLE t ()",
		"CREATE ROLE bob PASSWORD U&'hunter2'; CREATE TABLE t ()",
		"CREATE ROLE bob PASSWORD $$hunter2$$; CREATE TABLE t ()",
		"CREATE ROLE bob PASSWORD /* not 'this' */ 'hunter2'; CREATE TABLE t ()",
		"INSERT INTO users VALUES ('bob', 'hunter2'); CREATE TABLE t ()",
		"CREATE TABLE t (); INSERT INTO users VALUES ('bob', 'hunter2')",
		"SELECT make_tenant('bob', 'hunter2')",
		"SELECT make_tenant('bob', $x$hunter2$x$)",
		"DO $$ BEGIN CREATE TABLE t (); INSERT INTO users VALUES ('hunter2'); END $$",
		"DO LANGUAGE plpython3u $$ plpy.execute(\"... 'hunter2'\") # don't $$",
		"CREATE FUNCTION f() RETURNS text LANGUAGE plpython3u AS $$ p = \"hunter2\" # don't $$",
		"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''hunter2'''; END $$",
		"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ DECLARE api_token text := 'hunter2'; BEGIN END $$",
		"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $x$ALTER ROLE bob PASSWORD ''hunter2''$x$; END'",
		"CREATE TABLE t (ssn text DEFAULT 'hunter2')",
		"CREATE TABLE t (api_token text DEFAULT 'hunter2')",
		"ALTER FUNCTION f() SET app.secret = hunter2",
		"ALTER FUNCTION f() SET app.secret TO 'hunter2'",
		"CREATE TABLE t (x text DEFAULT 'a\\' , y text DEFAULT ' hunter2 ')", // whether the backslash escapes is not known
		"CREATE TABLE t (x text DEFAULT 'cut hunter2",
		"CREATE ROLE bob PASSWORD $$cut hunter2",
		"CREATE TABLE t (\"cut hunter2",
		"CREATE TABLE t () -- hunter2",
		"CREATE TABLE t () /* /* */ hunter2 */",
	} {
		if got := redact(secret, "CREATE TABLE", map[string]bool{"ssn": true}); strings.Contains(got, "hunter2") {
			t.Errorf("redact(%q) is %q", secret, got)
		}
		verb, _, _ := strings.Cut(secret, " ")
		if got := redact(secret, verb, map[string]bool{"ssn": true}); verb != "INSERT" && verb != "DO" && strings.Contains(got, "hunter2") {
			t.Errorf("redact(%q) as %s is %q", secret, verb, got)
		}
	}
}

// Whatever stands in a text, redacting it ends, and a password that is marked
// as one is gone.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"CREATE TABLE t (x text DEFAULT 'a')", "DO $a$ $b$ 'x' $b$ $a$", `E'\`, "U&'", "/*", "$$", `"`, "';"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "hunter2") {
			return
		}
		if got := redact("CREATE ROLE bob PASSWORD 'hunter2'; "+s, "CREATE ROLE", nil); strings.Contains(got, "hunter2") {
			t.Errorf("%q", got)
		}
		redact(s, "CREATE TABLE", nil)
	})
}
