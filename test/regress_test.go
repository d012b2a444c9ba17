package test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/verify"
)

// suite is PostgreSQL's own regression suite, src/test/regress of its sources,
// run as a workload: what its statements answer is not judged, only what they
// leave behind.
type suite struct {
	t       testing.TB
	w       *workload
	dir     string // src/test/regress
	results string // where the server may write
	psql    string
	env     []string
	files   []ranFile
	trigger functionCost // of the event triggers of pgwitness
}

// functionCost is what calls of a function took the server.
type functionCost struct {
	calls int64
	took  time.Duration
}

// ranFile is one file of the suite, as it went.
type ranFile struct {
	name     string
	took     time.Duration
	problem  string // why it could not run to its end; "" if it did
	expected int    // errors that the suite itself asks for
	others   []string
}

// serverGone is the problem of a file that crashed the server.
const serverGone = "it crashed the server, which recovered"

// fileTimeout ends a file that waits for something that never comes.
const fileTimeout = 10 * time.Minute

// After PostgreSQL's own regression suite, every committed change is an entry,
// folding the entries gives every published table, and the chain holds. Without
// the sources there is nothing to run: `make test-regress` says how to get them.
func TestFoldEqualsTableAfterRegressionSuite(t *testing.T) {
	source := os.Getenv("PGWITNESS_PG_SOURCE")
	if source == "" {
		t.Log("PGWITNESS_PG_SOURCE names no sources of PostgreSQL: make test-regress runs this")
		return
	}
	major, err := strconv.Atoi(cmp.Or(os.Getenv("PGWITNESS_PG_MAJOR"), "0"))
	if err != nil {
		t.Fatal(err)
	}
	pg := harness.PostgresServer(t, major, map[string]string{"max_locks_per_transaction": "256", "track_functions": "pl"})
	u := newSuite(t, pg, newWorkload(t, pg, harness.ClickHouse(t)), filepath.Join(source, "src/test/regress"))
	for _, name := range u.schedule() {
		u.run(name)
		if crashed := u.files[len(u.files)-1].problem == serverGone; crashed {
			// Older servers have bugs that the suite tests for. The sidecar must
			// find its way back by itself.
			u.w.s.sync(5 * time.Minute)
			u.w.forgive()
		}
		u.w.steady("after " + name)
		u.addCost()
	}
	u.w.s.sync(10 * time.Minute)
	r := u.judge()
	u.w.s.stop()
	if file := os.Getenv("PGWITNESS_REGRESS_REPORT"); file != "" {
		if err := os.WriteFile(file, r.markdown(), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func newSuite(t testing.TB, pg *harness.PG, w *workload, dir string) *suite {
	t.Helper()
	psql, err := exec.LookPath(cmp.Or(os.Getenv("PGWITNESS_PSQL"), "psql"))
	if err != nil {
		t.Fatalf("find psql, which runs the files: %v\nhint: install postgresql-client, or name one in PGWITNESS_PSQL", err)
	}
	results := harness.Folder(t)
	for _, folder := range []string{results, filepath.Join(results, "results")} {
		if err := os.MkdirAll(folder, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(folder, 0o777); err != nil { // the server writes there, as another user
			t.Fatal(err)
		}
	}
	address, err := url.Parse(pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	// As pg_regress sets them.
	env := append(os.Environ(), "PGHOST="+address.Hostname(), "PGPORT="+address.Port(), "PGUSER="+address.User.Username(), "PGPASSWORD="+password,
		"PGDATABASE="+pg.Database, "PGAPPNAME=pg_regress", "PGTZ=America/Los_Angeles", "PGDATESTYLE=Postgres, MDY", "PGOPTIONS=-c intervalstyle=postgres_verbose",
		"LC_MESSAGES=C", "PG_ABS_SRCDIR="+dir, "PG_ABS_BUILDDIR="+results, "PG_LIBDIR="+cmp.Or(os.Getenv("PGWITNESS_REGRESS_LIB"), results), "PG_DLSUFFIX=.so")
	for _, setting := range []string{"lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'", "bytea_output TO 'hex'", "timezone_abbreviations TO 'Default'"} {
		pg.Exec("ALTER DATABASE " + pg.Database + " SET " + setting)
	}
	return &suite{t: t, w: w, dir: dir, results: results, psql: psql, env: env}
}

// schedule lists the files in the order of pg_regress. Those that it runs at
// the same time run one after the other here. PGWITNESS_REGRESS_FILES names some
// of them; test_setup, which makes what many others need, is always one.
func (u *suite) schedule() []string {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(u.dir, "parallel_schedule"))
	if err != nil {
		u.t.Fatalf("read the schedule of the suite: %v\nhint: PGWITNESS_PG_SOURCE names the folder that has src/test/regress", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(line, "test:"); ok {
			names = append(names, strings.Fields(group)...)
		}
	}
	if some := strings.Fields(os.Getenv("PGWITNESS_REGRESS_FILES")); len(some) > 0 {
		names = slices.DeleteFunc(names, func(name string) bool { return name != "test_setup" && !slices.Contains(some, name) })
	}
	return names
}

// run runs one file by psql, as pg_regress does.
func (u *suite) run(name string) {
	u.t.Helper()
	script, err := os.Open(filepath.Join(u.dir, "sql", name+".sql"))
	if err != nil {
		u.files = append(u.files, ranFile{name: name, problem: "there is no such file"})
		return
	}
	defer script.Close()
	ctx, cancel := context.WithTimeout(u.t.Context(), fileTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, u.psql, "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on")
	c.Stdin, c.Env, c.Dir = script, u.env, u.results
	began := time.Now()
	out, err := c.CombinedOutput()
	f := ranFile{name: name, took: time.Since(began), problem: ending(ctx, err, string(out))}
	f.expected, f.others = u.errorsOf(name, strings.ReplaceAll(string(out), u.results, "…"))
	u.files = append(u.files, f)
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 2 && f.expected+len(f.others) == 0 {
		u.t.Fatalf("%s: the server is gone: %s", name, out[max(0, len(out)-500):])
	}
	u.t.Logf("%s: %s, %d errors that the suite asks for, %d others %s %q", name, f.took.Round(time.Millisecond), f.expected, len(f.others), f.problem, f.others)
}

// ending says why a file did not run to its end. Its own errors end nothing.
func ending(ctx context.Context, err error, out string) string {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "it did not end within " + fileTimeout.String()
	case strings.Contains(out, "server closed the connection unexpectedly"):
		return serverGone
	case err == nil || errors.As(err, &exit) && exit.ExitCode() == 3:
		return ""
	}
	return "psql: " + err.Error()
}

// errorsOf counts the errors of a file that are in its expected output as well,
// and lists the others.
func (u *suite) errorsOf(name, out string) (expected int, others []string) {
	u.t.Helper()
	files, err := filepath.Glob(filepath.Join(u.dir, "expected", name+"*.out"))
	if err != nil {
		u.t.Fatal(err)
	}
	wanted := make(map[string]int)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			u.t.Fatal(err)
		}
		for line, n := range errorLines(string(text)) {
			wanted[line] = max(wanted[line], n)
		}
	}
	for line, n := range errorLines(out) {
		expected += min(n, wanted[line])
		for range n - wanted[line] {
			others = append(others, line)
		}
	}
	slices.Sort(others)
	return expected, others
}

func errorLines(out string) map[string]int {
	lines := make(map[string]int)
	for line := range strings.Lines(out) {
		if _, text, ok := strings.Cut(line, "ERROR:  "); ok {
			lines[strings.TrimSpace(text)]++
		}
	}
	return lines
}

// addCost adds what the event triggers took since the last call. A file may set
// the statistics back: what it did is lost to this sum, and no more.
func (u *suite) addCost() {
	u.t.Helper()
	conn := u.w.pg.Connect()
	defer conn.Close(context.Background())
	var calls int64
	var milliseconds float64
	err := conn.QueryRow(context.Background(), `SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(total_time), 0)::float8, pg_stat_reset_single_function_counters(to_regprocedure('pgwitness.ddl()'))::text
		FROM pg_stat_user_functions WHERE schemaname = 'pgwitness' AND funcname = 'ddl'`).Scan(&calls, &milliseconds, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	u.trigger.calls += calls
	u.trigger.took += time.Duration(milliseconds * float64(time.Millisecond))
}

// judge compares everything with everything.
func (u *suite) judge() *suiteReport {
	u.t.Helper()
	r := &suiteReport{version: u.w.pg.Server.Version(), files: u.files, trigger: u.trigger, stumbled: u.w.stumbled}
	u.w.baselined(15 * time.Minute)
	u.w.s.sync(10 * time.Minute)
	r.changes, r.tables = u.w.checkCounts()
	for _, v := range u.w.compare() {
		r.live++
		r.rows += v.compared.Rows
		if v.lost > 0 {
			r.reread = append(r.reread, v.name())
		}
		switch {
		case v.exact():
			r.exact++
		case v.declared():
			r.unknown = append(r.unknown, fmt.Sprintf("%s: %s", v.name(), v))
		default:
			u.t.Errorf("%s: %s", v.name(), v)
			r.wrong = append(r.wrong, fmt.Sprintf("%s: %s", v.name(), v))
		}
	}
	r.unpublished = u.unpublished()
	r.baselines = u.w.s.query("SELECT concat(toString(countIf(action = 'baseline_completed')), ' baselines, ', toString(countIf(operation = 'baseline')), ' rows') FROM audit_logs")
	r.lost = u.w.s.query("SELECT count() FROM audit_logs WHERE operation = 'ddl' AND JSONHas(assumeNotNull(new_values), 'unknown_values')")
	r.ddl = u.w.s.query("SELECT count() FROM audit_logs WHERE operation = 'ddl'")
	u.judgeByVerify(r)
	return r
}

// judgeByVerify asks the product itself.
func (u *suite) judgeByVerify(r *suiteReport) {
	u.t.Helper()
	reports, err := pgwitness.New(u.w.s.cfg, zerolog.Nop()).Verify(context.Background(), pgwitness.VerifyQuery{Continuity: true, Reconcile: true}, nil)
	if err != nil {
		u.t.Errorf("verify: %v", err)
		r.verdicts = append(r.verdicts, err.Error())
	}
	if len(reports) == 0 {
		return
	}
	report := reports[0]
	r.entries = report.Size
	for _, name := range []string{verify.Integrity, verify.Completeness} {
		v := report.Verdict(name)
		r.verdicts = append(r.verdicts, fmt.Sprintf("%s %s: %s", name, v.Status, v.Reason))
		// That the rows of a table that is gone cannot be followed is no finding.
		if v.Total > 0 || v.Status != verify.Holds && !strings.Contains(v.Reason, "; reconciled ") {
			u.t.Errorf("verify: %s %s (%s), %d findings: %+v", name, v.Status, v.Reason, v.Total, v.Findings)
		}
	}
}

// unpublished lists the tables that are there and are not published, which is so
// when they could not be updated otherwise.
func (u *suite) unpublished() []string {
	u.t.Helper()
	text := u.w.pg.Value(`SELECT coalesce(string_agg(concat(schema, '.', name), ' ' ORDER BY schema, name), '') FROM workload.present
		WHERE NOT EXISTS (SELECT FROM pg_publication_tables AS p WHERE p.pubname = 'pgwitness_workload' AND (p.schemaname, p.tablename) = (schema, name))`)
	return strings.Fields(text)
}
