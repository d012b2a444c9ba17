package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/test/harness"
)

// The session's people, as a proxy in front of the application would see them.
const (
	adminAddress, adminAgent   = "198.51.100.7", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	editorAddress, editorAgent = "203.0.113.9", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15"
)

// appConfig is all that pgwitness is told of the application.
const appConfig = `
streams:
  - name: directus
    postgres: {dsn: "${SHOP_DSN}", idle_interval: 500ms}
    heartbeat_interval: 0s
    baseline: {enabled: true}
    tables:
      - {name: public.directus_activity, resource: activity, activity: {actor: user, ip_address: ip, user_agent: user_agent}}
      - {name: public.directus_users, resource: user, secret: [password, token, tfa_secret]}
      - {name: public.directus_sessions, resource: session, secret: [token], activity: {actor: user, ip_address: ip, user_agent: user_agent}}
      - {name: public.articles, resource: article, actor_column: user_updated}
      - {name: public.*}
    actors:
      - {name: directus, match: {db_user: "directus_*"}, actor: {source: directus}}
    actions:
      - {name: login, table: directus_activity, operation: insert, when: "new.action == 'login'", action: login}
`

// directus is an installation of Directus, exactly as npm brings it.
type directus struct {
	t       *testing.T
	dir     string // of the installation
	version string
	base    string // its address
	env     []string
	log     bytes.Buffer
}

// caller is somebody who uses the application.
type caller struct {
	app                   *directus
	address, agent, token string
	id                    string
}

// A session in an application that nobody touched: its trail names actor,
// address and program wherever the application itself writes them down, names
// nobody wrongly, and coverage says how much is left. `make test-app` runs it.
func TestThirdPartyApplication(t *testing.T) {
	if os.Getenv("PGWITNESS_APP") == "" {
		t.Log("PGWITNESS_APP is not set: make test-app fetches the application and runs this")
		return
	}
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	app := newDirectus(t, pg)
	app.bootstrap()
	app.start()
	admin := &caller{app: app, address: adminAddress, agent: adminAgent}
	admin.login("admin@example.com", "admin-of-this-test")
	admin.must("POST", "/collections", articles())

	s := newSidecar(t, pg, ch, appConfig)
	s.start()
	s.baselined(28)
	deeds := play(admin)
	pg.Exec("UPDATE articles SET title = 'by hand' WHERE id = 1")
	deeds = append(deeds, articleDeed{"update", "1", "db:" + pg.Value("SELECT current_user"), "observed", "127.0.0.1", ""})
	s.sync(time.Minute)
	s.verified()
	s.foldEqualsTables("articles", "directus_users", "directus_activity", "directus_settings")

	if diff := cmp.Diff(deeds, deedsOf(t, ch, "article")); diff != "" {
		t.Errorf("what was done to the articles (-want +got):\n%s", diff)
	}
	coverage := coverageOf(t, ch)
	quiet := []string{"articles", "directus_users", "directus_files"} // by hand; last_access; the size of a file, behind its upload
	for _, c := range coverage {
		if (c.source == "observed" || c.source == "none") && (c.changes > 1 || !slices.Contains(quiet, c.table)) {
			t.Errorf("%d changes of %s are of nobody", c.changes, c.table)
		}
	}
	if file := os.Getenv("PGWITNESS_APP_REPORT"); file != "" {
		r := appReport{version: app.version, coverage: coverage, status: s.must("status"),
			articles: s.must("trail", "article"), logins: s.must("trail", "--action", "login"), explained: s.must("trail", "article", "2", "--explain", "--limit", "1")}
		if err := os.WriteFile(file, r.markdown(), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// articles is a table as a user of the application makes one in its data model.
func articles() map[string]any {
	field := func(name, kind string, special ...string) map[string]any {
		return map[string]any{"field": name, "type": kind, "schema": map[string]any{}, "meta": map[string]any{"special": special}}
	}
	id := map[string]any{"field": "id", "type": "integer", "schema": map[string]any{"is_primary_key": true, "has_auto_increment": true}}
	return map[string]any{"collection": "articles", "schema": map[string]any{}, "meta": map[string]any{}, "fields": []any{
		id, field("title", "string"), field("status", "string"), field("user_updated", "uuid", "user-updated"),
	}}
}

// articleDeed is one change of an article, as the trail should tell it.
type articleDeed struct{ action, id, actor, source, address, agent string }

func (d articleDeed) Equal(other articleDeed) bool { return d == other }

// play is the session: an administrator makes a role, a user and a setting; the
// editor writes, changes and deletes; somebody types a wrong password.
func play(admin *caller) []articleDeed {
	admin.must("PATCH", "/settings", map[string]any{"project_name": "Gazette"})
	var permissions []any
	for _, action := range []string{"create", "read", "update", "delete"} {
		for _, collection := range []string{"articles", "directus_files"} {
			permissions = append(permissions, map[string]any{"collection": collection, "action": action, "fields": []string{"*"}, "permissions": map[string]any{}})
		}
	}
	policy := admin.must("POST", "/policies", map[string]any{"name": "Editing", "app_access": true, "permissions": permissions})
	role := admin.must("POST", "/roles", map[string]any{"name": "Editor"})
	admin.must("PATCH", "/policies/"+member(policy, "id"), map[string]any{"roles": map[string]any{"create": []any{map[string]any{"role": member(role, "id"), "policy": member(policy, "id")}}}})
	user := admin.must("POST", "/users", map[string]any{"email": "editor@example.com", "password": "editor-of-this-test", "role": member(role, "id")})

	editor := &caller{app: admin.app, address: editorAddress, agent: editorAgent, id: member(user, "id")}
	if code := editor.try("/auth/login", map[string]any{"email": "editor@example.com", "password": "a guess"}); code != http.StatusUnauthorized {
		admin.app.t.Errorf("a wrong password is answered with %d", code)
	}
	editor.login("editor@example.com", "editor-of-this-test")
	admin.must("POST", "/items/articles", map[string]any{"title": "Harbour reopens", "status": "draft"})
	editor.must("POST", "/items/articles", []any{map[string]any{"title": "Storm warning"}, map[string]any{"title": "Old news"}})
	editor.must("PATCH", "/items/articles/2", map[string]any{"title": "Storm warning lifted", "status": "published"})
	admin.must("PATCH", "/items/articles", map[string]any{"keys": []int{1, 2}, "data": map[string]any{"status": "archived"}})
	editor.must("DELETE", "/items/articles/3", nil)
	editor.upload("/files", "storm.txt", "no wind")

	by := func(c *caller, action, id, source string) articleDeed {
		return articleDeed{action, id, c.id, source, c.address, c.agent}
	}
	return []articleDeed{
		by(admin, "create", "1", "row:directus_activity"), by(editor, "create", "2", "row:directus_activity"), by(editor, "create", "3", "row:directus_activity"),
		by(editor, "update", "2", "row"), by(admin, "update", "1", "row"), by(admin, "update", "2", "row"), by(editor, "delete", "3", "row:directus_activity"),
	}
}

func deedsOf(t *testing.T, ch *harness.CH, resource string) []articleDeed {
	t.Helper()
	var found []articleDeed
	ch.Each(func(scan func(...any)) {
		var d articleDeed
		scan(&d.action, &d.id, &d.actor, &d.source, &d.address, &d.agent)
		found = append(found, d)
	}, `
		SELECT toString(action), ifNull(resource_id, ''), ifNull(toString(actor_id), ''), JSONExtractString(ifNull(attribution, ''), 'actor_id'), ifNull(toString(ip_address), ''), ifNull(toString(user_agent), '')
		FROM audit_logs WHERE resource_type = ? AND operation IN ('insert', 'update', 'delete') ORDER BY sequence`, resource)
	return found
}

// covered is a line of the view attribution_coverage.
type covered struct {
	table, source string
	changes       uint64
}

func coverageOf(t *testing.T, ch *harness.CH) []covered {
	t.Helper()
	var list []covered
	ch.Each(func(scan func(...any)) {
		var c covered
		scan(&c.table, &c.source, &c.changes)
		list = append(list, c)
	}, "SELECT ifNull(toString(table_name), ''), said_by, sum(changes) FROM attribution_coverage GROUP BY ALL ORDER BY 1, 3 DESC, 2")
	return list
}

// newDirectus configures the application the way its manual says: by its
// environment. The database role is its own.
func newDirectus(t *testing.T, pg *harness.PG) *directus {
	t.Helper()
	dir, err := filepath.Abs("app/node_modules/directus")
	if err != nil {
		t.Fatal(err)
	}
	var npm struct{ Version string }
	file, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err == nil {
		err = json.Unmarshal(file, &npm)
	}
	if err != nil {
		t.Fatalf("the application is not installed: %v\nhint: run `make test-app`", err)
	}
	role := "directus_" + pg.Database
	pg.Exec("CREATE ROLE " + role + " LOGIN PASSWORD 'secret'; GRANT ALL ON SCHEMA public TO " + role)
	t.Cleanup(func() { pg.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	a := &directus{t: t, dir: dir, version: npm.Version, base: fmt.Sprintf("http://127.0.0.1:%d", address.Port)}
	a.env = append(os.Environ(), "DB_CLIENT=pg", "DB_CONNECTION_STRING="+pg.DSNAs(role, "secret"), "PGAPPNAME=directus",
		"KEY=of-this-test", "SECRET=of-this-test-and-of-no-other-installation", "ADMIN_EMAIL=admin@example.com", "ADMIN_PASSWORD=admin-of-this-test",
		"HOST=127.0.0.1", fmt.Sprintf("PORT=%d", address.Port), "PUBLIC_URL="+a.base, "IP_TRUST_PROXY=true", "TELEMETRY=false", "NO_UPDATE_NOTIFIER=1",
		"STORAGE_LOCAL_ROOT="+work, "EXTENSIONS_PATH="+work)
	return a
}

func (a *directus) command(verb string) *exec.Cmd {
	c := exec.Command("node", filepath.Join(a.dir, "cli.js"), verb)
	c.Env, c.Dir = a.env, a.t.TempDir()
	return c
}

// bootstrap makes the application's tables and its first user.
func (a *directus) bootstrap() {
	a.t.Helper()
	if out, err := a.command("bootstrap").CombinedOutput(); err != nil {
		a.t.Fatalf("install the application: %v\n%s", err, out)
	}
}

// start starts it and waits until it answers.
func (a *directus) start() {
	a.t.Helper()
	c := a.command("start")
	c.Stdout, c.Stderr = &a.log, &a.log
	if err := c.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		_ = c.Process.Kill() // it may have ended by itself
		_ = c.Wait()
		if a.t.Failed() {
			a.t.Logf("the application says:\n%s", a.log.String())
		}
	})
	deadline, tick := time.After(time.Minute), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for {
		if r, err := http.Get(a.base + "/server/ping"); err == nil {
			_ = r.Body.Close() // only that it answers matters
			return
		}
		select {
		case <-deadline:
			a.t.Fatal("the application does not answer")
		case <-tick.C:
		}
	}
}

// send makes a request with a body of a content type, and returns the answer.
func (c *caller) send(method, path, kind string, body io.Reader) (int, []byte) {
	c.app.t.Helper()
	r, err := http.NewRequest(method, c.app.base+path, body)
	if err != nil {
		c.app.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("User-Agent", c.agent)
	r.Header.Set("X-Forwarded-For", c.address)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		c.app.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.app.t.Fatal(err)
	}
	return answer.StatusCode, text
}

func (c *caller) json(method, path string, body any) (int, []byte) {
	c.app.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.app.t.Fatal(err)
	}
	if body == nil {
		text = nil
	}
	return c.send(method, path, "application/json", bytes.NewReader(text))
}

// try returns the status of a request that may fail.
func (c *caller) try(path string, body any) int {
	c.app.t.Helper()
	code, _ := c.json("POST", path, body)
	return code
}

// must makes a request that must succeed and returns its data, if that is an object.
func (c *caller) must(method, path string, body any) map[string]any {
	c.app.t.Helper()
	code, answer := c.json(method, path, body)
	if code/100 != 2 {
		c.app.t.Fatalf("%s %s: status %d: %s", method, path, code, answer)
	}
	var reply struct{ Data any }
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &reply); err != nil {
			c.app.t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
	data, _ := reply.Data.(map[string]any)
	return data
}

// member is a string of the data of an answer.
func member(data map[string]any, key string) string { s, _ := data[key].(string); return s }

func (c *caller) login(email, password string) {
	c.app.t.Helper()
	c.token = member(c.must("POST", "/auth/login", map[string]any{"email": email, "password": password}), "access_token")
	c.id = member(c.must("GET", "/users/me", nil), "id")
}

func (c *caller) upload(path, name, content string) {
	c.app.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = io.Copy(part, strings.NewReader(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		c.app.t.Fatal(err)
	}
	if code, answer := c.send("POST", path, w.FormDataContentType(), &body); code/100 != 2 {
		c.app.t.Fatalf("POST %s: status %d: %s", path, code, answer)
	}
}
