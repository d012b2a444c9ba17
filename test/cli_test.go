package test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/test/harness"
)

// The command line as its users meet it: testdata/script/*.txtar, against real
// servers. A script finds the program as `pgwitness` and the servers in
// PG (an empty database), CH (the writing user), CH_ADMIN, CH_READER and
// CH_DATABASE; the same with a wrong password in PG_WRONG and CH_WRONG.
func TestScripts(t *testing.T) {
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE orders (id int PRIMARY KEY, status text, total numeric)")
	binary := harness.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			link := filepath.Join(env.WorkDir, "bin")
			if err := os.MkdirAll(link, 0o755); err != nil {
				return err
			}
			if err := os.Symlink(binary, filepath.Join(link, "pgwitness")); err != nil {
				return err
			}
			env.Vars = append(env.Vars, harness.RaceOptions)
			for name, value := range map[string]string{
				"PATH": link + string(os.PathListSeparator) + env.Getenv("PATH"),
				"PG":   pg.DSN(), "PG_WRONG": wrongPassword(t, pg.DSN()),
				"PG_NODB": strings.Replace(pg.DSN(), pg.Database, "no_such_database", 1),
				"CH":      dsn(ch, "sink"), "CH_WRONG": wrongPassword(t, dsn(ch, "sink")),
				"CH_ADMIN": dsn(ch, engine.Admin), "CH_READER": dsn(ch, "reader"), "CH_DATABASE": ch.Database,
			} {
				env.Setenv(name, value)
			}
			return nil
		},
	})
}

// wrongPassword is the DSN, a URL, with another password.
func wrongPassword(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), "wrong")
	return u.String()
}
