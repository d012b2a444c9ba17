package setup

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/sql"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, schema, name string
		want                  bool
	}{
		{"public.orders", "public", "orders", true},
		{"public.orders", "public", "Orders", false},
		{"public.*", "public", "orders", true},
		{"public.*", "sales", "orders", false},
		{"*.orders", "sales", "orders", true},
		{"*.*", "a.b", "c", true},
		{"public.order?", "public", "orders", true},
		{"public.order?", "public", "order", false},
		{"public.*", "public", "a/b", true},
		{"public.a/?", "public", "a/b", true},
		{"public.[ab]*", "public", "bonus", true},
		{"public.[ab]*", "public", "copy", false},
		{"public.a.b", "public", "a.b", true},
	} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		}
		if got := p.matches(c.schema, c.name); got != c.want {
			t.Errorf("%s matches %s.%s: %t", c.pattern, c.schema, c.name, got)
		}
	}
	for _, bad := range []string{"", "orders", ".orders", "public.", "public.[a"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%q is taken for a table name", bad)
		}
	}
}

func TestSelectionPrefersExactNames(t *testing.T) {
	s, err := newSelection(Config{
		Tables: []Table{{Name: "public.*", ReplicaIdentity: "full"}, {Name: "public.log*", ReplicaIdentity: "default"}, {Name: "public.log", ReplicaIdentity: "keep"},
			{Name: "public.tmp_exact", ReplicaIdentity: "full"}}, Exclude: []string{"public.tmp_*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"orders": "full", "logs": "full", "log": "keep", "tmp_exact": "", "tmp_1": ""} {
		got, ok := s.identity("public", name)
		if got != want || ok != (want != "") {
			t.Errorf("%s: %q %t", name, got, ok)
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	c := Config{DSN: "postgres://x:hunter2@:port/", Slot: "No", Publication: "", LockTimeout: -time.Second, LockAttempts: -1,
		Tables: []Table{{Name: "orders"}, {Name: "public.x", ReplicaIdentity: "some"}}, Exclude: []string{"y"}}
	err := c.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	var keys []string
	for line := range strings.Lines(err.Error()) {
		key, _, _ := strings.Cut(line, ":")
		keys = append(keys, key)
	}
	want := []string{"dsn", "sidecar_dsn", "slot", "publication", "tables[0].name", "tables[1].replica_identity", "exclude[0]", "lock_timeout", "lock_attempts"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("problems differ (-want +got):\n%s", diff)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the password is in the error")
	}
	good := Config{DSN: "postgres://x@localhost/shop", Slot: "s", Publication: "p", Tables: []Table{{Name: "public.*"}}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestPlanString(t *testing.T) {
	p := Plan{Title: "pgwitness setup of database shop", lockTimeout: 2 * time.Second, Steps: []Step{
		{Why: "One.", Statements: []string{"-- why\nSELECT 1;\n", "SELECT 2;"}, Table: "t"},
		{Why: "Two.", Statements: []string{"SELECT 3;"}, Alone: true},
	}}
	want := `-- pgwitness setup of database shop: 2 steps. Run with psql, as a role that owns the tables.
\set ON_ERROR_STOP on
` + settings("SET") + `

-- 1. One.
BEGIN;
SET LOCAL lock_timeout = '2000ms';
-- why
SELECT 1;
SELECT 2;
COMMIT;

-- 2. Two.
SELECT 3;
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
	if p.Empty() || !(&Plan{}).Empty() {
		t.Error("empty is not told from full")
	}
}

func TestWantedFunctions(t *testing.T) {
	for name, want := range map[string]function{
		"stamp":            {Language: "plpgsql", Definer: true, Volatility: "v"},
		"message":          {Language: "plpgsql", Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp", "debug_print_plan=off"}},
		"event":            {Language: "plpgsql", Definer: true, Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp"}, PublicExecute: true},
		"inner_pad":        {Language: "sql", Volatility: "i"},
		"outer_pad":        {Language: "sql", Volatility: "i"},
		"connection_facts": {Language: "sql", Volatility: "i"},
		"claim":            {Language: "plpgsql", Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp"}},
		"guard":            {Language: "plpgsql", Definer: true, Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp"}},

		"preset_postgrest":    {Language: "plpgsql", Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp"}},
		"directory":           {Language: "plpgsql", Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp"}},
		"preset_hasura":       {Language: "plpgsql", Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp"}},
		"preset_postgraphile": {Language: "sql", Volatility: "v", Config: []string{"search_path=pg_catalog, pg_temp"}},
	} {
		got, err := Config{}.wantedFunction(name)
		if err != nil || len(got.Body) < 20 {
			t.Errorf("%s: %v", name, err)
		}
		got.Body, want.Name = "", name
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, diff)
		}
		if whyFunction(name) == "" {
			t.Errorf("%s has no reason", name)
		}
	}
	if len(functionFiles()) != 12 {
		t.Error("a function has no test")
	}
}

// The statements must be sendable to a database of any encoding.
func TestStatementsAreASCII(t *testing.T) {
	n := 0
	err := fs.WalkDir(sql.Postgres, "postgres", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(sql.Postgres, path)
		for i, b := range text {
			if b >= 0x80 {
				t.Errorf("%s: byte %d is not ASCII", path, i)
				break
			}
		}
		n++
		return err
	})
	if err != nil || n < 20 {
		t.Errorf("%d files, %v", n, err)
	}
}

func TestLiteral(t *testing.T) {
	for in, want := range map[string]string{"a": "'a'", "it's": "'it''s'", `a\b`: ` E'a\\b'`} {
		if got := literal(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
