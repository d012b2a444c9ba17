package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
)

// recipesPage is where the recipes stand; what is tested is the code on it.
const recipesPage = "../docs/recipes.md"

// recipe returns the code block of the page whose first line is "```language name".
func recipe(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile(recipesPage)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```[a-z]+ " + name + "\n(.*?)^```$").FindSubmatch(page)
	if block == nil {
		t.Fatalf("%s has no code block called %s", recipesPage, name)
	}
	return string(block[1])
}

// credited is what an entry of a recipe says of who did it.
type credited struct {
	Action, Actor, Source string
	Route                 string // as `attribution` has it
	Application           string // column source
	Request               string
}

// recipeCase is a recipe, the program around it, and what the trail must say.
type recipeCase struct {
	name string
	run  func(*testing.T, *harness.PG)
	want []credited
}

// The changes that every program makes: an insert as one user, an update as
// another, and one as nobody, whom PostgreSQL alone knows.
func threeChanges(source, first, second string) []credited {
	return []credited{
		{Action: "create", Actor: "u-17", Source: source, Route: first},
		{Action: "update", Actor: "u-42", Source: source, Route: second},
		{Action: "update", Actor: "db:postgres", Source: "observed"},
	}
}

// TestRecipes runs the code of docs/recipes.md, each recipe in a program that
// knows nothing of the others, and looks at what the trail says.
func TestRecipes(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE orders (id serial PRIMARY KEY, item text, total int NOT NULL DEFAULT 0)")
	s := newSidecar(t, pg, ch, `
streams:
  - name: recipes
    postgres: {dsn: "${SHOP_DSN}", idle_interval: 500ms}
    heartbeat_interval: 0s
    tables: [{name: public.orders}]
`)
	s.start()

	withRequests := threeChanges("session", "/orders", "/orders/:id")
	withRequests[0].Request, withRequests[1].Request = "r-1", "r-2"
	commented := threeChanges("comment", "orders/", "orders/<str:item>/")
	commented[1].Actor, commented[2].Route = "50%/*o'malley*/", "orders/<str:item>/"
	cases := []recipeCase{
		{"knex", runNode, withRequests},
		{"django", runPython, commented},
		{"sqlalchemy", runPython, threeChanges("session", "/orders", "/orders/{id}")},
		{"pgx", runPgx, threeChanges("session", "/orders", "/orders/{id}")},
		{"rails", replayRails, []credited{
			{"create", "17", "comment", "orders#create", "Shop", "8f6c1b1e-2f5d-4a53-9f0e-3f1b8a4f7c11"},
			{"update", "42", "comment", "orders#update", "Shop", "0b0f3a52-7d0e-4f5c-8a8b-5d5c3f1d9e22"},
			{"update", "db:postgres", "observed", "job ReportJob", "Shop", ""},
			{"update", "db:postgres", "observed", "orders#update", "Shop", ""},
		}},
	}
	if os.Getenv("PGWITNESS_APP") != "" { // 170 MB, so only make test-app has it
		interactive := credited{Action: "update", Actor: "u-43", Source: "session"}
		cases = append(cases, recipeCase{"prisma", runNode, append(threeChanges("session", "", ""), interactive)})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, pg) })
	}
	s.sync(time.Minute)
	for _, c := range cases {
		t.Run(c.name+" in the trail", func(t *testing.T) {
			want := slices.Clone(c.want)
			for i := range want {
				want[i].Actor = strings.Replace(want[i].Actor, "db:postgres", "db:"+pg.Value("SELECT current_user"), 1)
			}
			if diff := cmp.Diff(want, toldOf(t, ch, c.name)); diff != "" {
				t.Errorf("entries differ (-want +got):\n%s", diff)
			}
		})
	}
}

// toldOf reads the entries of the order whose item is name.
func toldOf(t *testing.T, ch *harness.CH, name string) []credited {
	t.Helper()
	var found []credited
	ch.Each(func(scan func(...any)) {
		var e credited
		var attribution string
		scan(&e.Action, &e.Actor, &attribution, &e.Application, &e.Request)
		var notes struct {
			Actor   string            `json:"actor_id"`
			Comment map[string]string `json:"comment"`
			Claims  map[string]string `json:"context_claims"`
		}
		if err := json.Unmarshal([]byte(attribution), &notes); err != nil {
			t.Fatalf("attribution %s: %v", attribution, err)
		}
		e.Source, e.Route = notes.Actor, notes.Comment["route"]+notes.Claims["route"]
		if c := notes.Comment; c["controller"] != "" {
			e.Route = c["controller"] + "#" + c["action"]
		} else if c["job"] != "" {
			e.Route = "job " + c["job"]
		}
		found = append(found, e)
	}, `
		SELECT toString(action), ifNull(toString(actor_id), ''), ifNull(toString(attribution), '{}'), ifNull(toString(source), ''), ifNull(request_id, '')
		FROM audit_logs WHERE table_name = 'orders' AND resource_id IN (
			SELECT resource_id FROM audit_logs WHERE operation = 'insert' AND JSONExtractString(ifNull(new_values, ''), 'item') = ?)
		ORDER BY sequence`, name)
	return found
}

// program puts the recipe into its program of test/recipes and returns where
// that lies now.
func program(t *testing.T, name, extension string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("recipes", name+extension))
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(text), "\nRECIPE\n")
	if !ok {
		t.Fatalf("the program for %s has no place for the recipe", name)
	}
	file := filepath.Join(t.TempDir(), "program"+extension)
	if err := os.WriteFile(file, []byte(before+"\n"+recipe(t, name)+"\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// recipeName is the recipe of the running subtest.
func recipeName(t *testing.T) string { return t.Name()[strings.LastIndexByte(t.Name(), '/')+1:] }

// runProgram runs a program to its end.
func runProgram(t *testing.T, pg *harness.PG, env []string, command string, args ...string) {
	t.Helper()
	c := exec.Command(command, args...)
	c.Env = append(append(os.Environ(), "DATABASE_URL="+pg.DSN(), "ITEM="+recipeName(t)), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(command), err, out)
	}
}

func runNode(t *testing.T, pg *harness.PG) {
	where, target := "recipes/node_modules", "make recipes"
	if recipeName(t) == "prisma" {
		where, target = "recipes/prisma/node_modules", "make test-app"
	}
	modules, err := filepath.Abs(where)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, recipeName(t))); err != nil {
		t.Fatalf("the package is not installed: %v\nhint: run `%s`", err, target)
	}
	runProgram(t, pg, []string{"NODE_PATH=" + modules}, "node", program(t, recipeName(t), ".cjs"))
}

func runPython(t *testing.T, pg *harness.PG) {
	runProgram(t, pg, nil, python(t), program(t, recipeName(t), ".py"))
}

// python is an interpreter that has the packages: the distribution's, which
// need not be the first on the PATH.
func python(t *testing.T) string {
	t.Helper()
	var problems []string
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		out, err := exec.Command(candidate, "-c", "import django, sqlalchemy, psycopg2").CombinedOutput()
		if err == nil {
			return candidate
		}
		problems = append(problems, fmt.Sprintf("%s: %v: %s", candidate, err, out))
	}
	t.Fatalf("no Python has Django, SQLAlchemy and psycopg2:\n%s\nhint: apt-get install python3-django python3-sqlalchemy python3-psycopg2", strings.Join(problems, "\n"))
	return ""
}

// replayRails sends statements as ActiveRecord 7.1 writes them with the tags of
// the recipe, and as the gem marginalia did before.
func replayRails(t *testing.T, pg *harness.PG) {
	code := recipe(t, "rails")
	for _, tag := range []string{":sqlcommenter", ":application", ":controller", ":action", ":job", "actor_id:", "request_id:"} {
		if !strings.Contains(code, tag) {
			t.Errorf("the recipe has no %s, which the statements have", tag)
		}
	}
	cfg, err := pgx.ParseConfig(pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // Rails has no prepared statements then
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{
		`BEGIN /*application='Shop',controller='orders',action='create',actor_id='17',request_id='8f6c1b1e-2f5d-4a53-9f0e-3f1b8a4f7c11'*/`,
		`INSERT INTO "orders" ("item", "total") VALUES ('rails', 0) RETURNING "id" /*application='Shop',controller='orders',action='create',actor_id='17',request_id='8f6c1b1e-2f5d-4a53-9f0e-3f1b8a4f7c11'*/`,
		`COMMIT /*application='Shop',controller='orders',action='create',actor_id='17',request_id='8f6c1b1e-2f5d-4a53-9f0e-3f1b8a4f7c11'*/`,
		`UPDATE "orders" SET "total" = 1 WHERE "orders"."item" = 'rails' /*application='Shop',controller='orders',action='update',actor_id='42',request_id='0b0f3a52-7d0e-4f5c-8a8b-5d5c3f1d9e22'*/`,
		`UPDATE "orders" SET "total" = 2 WHERE "orders"."item" = 'rails' /*application='Shop',job='ReportJob'*/`,
		`UPDATE "orders" SET "total" = 3 WHERE "orders"."item" = 'rails' /*application:Shop,controller:orders,action:update*/`,
	} {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// The recipe for pgx, word by word: the test compares it with the page.
func asUser(ctx context.Context, pool *pgxpool.Pool, user, route string, work func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		said, _ := json.Marshal(map[string]string{"actor_id": user, "route": route}) // strings always marshal
		if _, err := tx.Exec(ctx, "SELECT set_config('audit.context', $1, true)", string(said)); err != nil {
			return err
		}
		return work(tx)
	})
}

func runPgx(t *testing.T, pg *harness.PG) {
	source, err := os.ReadFile("recipes_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), recipe(t, "pgx")) {
		t.Error("the function of this test is another one than the recipe")
	}
	ctx := context.Background()
	cfg, err := pgxpool.ParseConfig(pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	run := func(statement string) func(pgx.Tx) error {
		return func(tx pgx.Tx) error { _, err := tx.Exec(ctx, statement); return err }
	}
	for _, err := range []error{
		asUser(ctx, pool, "u-17", "/orders", run("INSERT INTO orders (item) VALUES ('pgx')")),
		asUser(ctx, pool, "u-42", "/orders/{id}", run("UPDATE orders SET total = 1 WHERE item = 'pgx'")),
		pgx.BeginFunc(ctx, pool, run("UPDATE orders SET total = 2 WHERE item = 'pgx'")),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestRecipesAreWellFormed looks at those that no program here can run: what
// they set must be a variable that is read, and must end with the transaction.
func TestRecipesAreWellFormed(t *testing.T) {
	page, err := os.ReadFile(recipesPage)
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`^SELECT set_config\('audit\.(context|actor_id)', (\?|\$1|:context|\$\{user\}), true\)$`)
	seen := 0
	for _, call := range regexp.MustCompile(`SELECT set_config\([^)]*\)`).FindAllString(string(page), -1) {
		if strings.Contains(call, "…") {
			continue // the text shows the form
		}
		if seen++; !known.MatchString(call) {
			t.Errorf("%s is no claim for the transaction", call)
		}
	}
	if seen < 6 {
		t.Errorf("%d recipes set a variable, want at least 6", seen)
	}
	for _, name := range []string{"presets", "rules"} {
		text := "streams:\n  - name: shop\n    tables: [{name: public.orders}]\n    " + strings.ReplaceAll(strings.TrimSpace(recipe(t, name)), "\n", "\n    ") + "\n"
		if _, err := pgwitness.ParseConfig(name, []byte(text)); err != nil {
			t.Errorf("the block %s is no configuration: %v", name, err)
		}
	}
}
