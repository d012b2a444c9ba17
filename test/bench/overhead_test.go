package bench

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/setup"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

//go:embed overhead.sql
var overheadTables string

//go:embed audit_table.sql
var auditTable string

// variant is one way of keeping a record, in a database of its own.
type variant struct {
	name    string
	prepare func(o *overhead, database string)
	backend *Backend
}

// The goals, in bytes and microseconds.
const (
	stampBytes     = 200  // of write-ahead log for a stamp in the common case
	claimBytes     = 210  // the same with an e-mail address as actor and a reason of 16 letters
	updateBytes    = 1000 // of write-ahead log for a stamped UPDATE of one row of the table wide
	statementMicro = 2.0  // for a statement whose context is stamped already
)

const (
	walMetric = "WAL bytes"
	cpuMetric = "CPU us"
	logMetric = "log bytes"

	none, full, stamps, guard, trigger, pgaudit = "no record at all", "REPLICA IDENTITY FULL", "FULL + stamps", "FULL + stamps + a guard", "audit table by trigger", "pgaudit"
)

// overhead is one server with a database for each variant.
type overhead struct {
	t        *testing.T
	pg       *harness.PG
	report   *Report
	variants []*variant
	rows     int // of the table wide
	divisor  int // of the number of statements
}

// TestOverhead measures what an audited database pays: `make bench-overhead`
// runs it at full length. In small it holds the goals that are bytes.
func TestOverhead(t *testing.T) {
	folder := os.Getenv(Variable)
	runs, rows, divisor := 5, 100_000, 1
	if folder == "" {
		runs, rows, divisor = 1, 2_000, 20
	}
	report := NewReport("overhead", runs)
	var text strings.Builder
	fmt.Fprintf(&text, "%d CPUs, %s; medians of %d runs, the variants in turn; ratios to %q.\n", report.Machine.CPUs, report.Machine.CPU, runs, none)
	bin, audits := harness.Parts(t).Postgres, false
	if withPgaudit := pgauditFolder(t); folder != "" && withPgaudit != "" {
		bin, audits = withPgaudit, true
	}
	o := newOverhead(t, bin, audits, report, rows, divisor)
	for _, b := range o.run(runs) {
		report.Summarise(b)
		fmt.Fprintf(&text, "\n%s", report.Table(b))
	}
	fmt.Fprintf(&text, "\n%s", o.goals())
	t.Logf("\n%s", text.String())
	if folder != "" {
		if err := report.Write(folder, text.String()); err != nil {
			t.Fatal(err)
		}
	}
}

// pgauditFolder is the folder with the programs of the distribution's newest
// PostgreSQL that has pgaudit installed, "" if there is none.
func pgauditFolder(t *testing.T) string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/lib/pgaudit.so")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		return ""
	}
	return filepath.Join(filepath.Dir(filepath.Dir(found[len(found)-1])), "bin")
}

func newOverhead(t *testing.T, bin string, audits bool, report *Report, rows, divisor int) *overhead {
	settings := map[string]string{
		"wal_level": "logical", "full_page_writes": "off", "autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "16GB",
		"logging_collector": "on", "log_directory": "log", "log_checkpoints": "off", "shared_buffers": "256MB",
	}
	variants := []*variant{
		{name: none},
		{name: full, prepare: (*overhead).fullIdentity},
		{name: stamps, prepare: func(o *overhead, db string) { o.witnessed(db) }},
		{name: guard, prepare: func(o *overhead, db string) {
			o.witnessed(db, guardOn("wide", "NEW.total > 1000000"), guardOn("pgbench_accounts", "NEW.abalance > 1000000000"))
		}},
		{name: trigger, prepare: func(o *overhead, db string) { o.exec(db, auditTable) }},
	}
	if divisor > 1 { // the goals are about those before
		variants = variants[:4]
	}
	if audits {
		settings["shared_preload_libraries"] = "pgaudit"
		variants = append(variants, &variant{name: pgaudit, prepare: func(o *overhead, db string) {
			o.exec(db, "CREATE EXTENSION pgaudit", "ALTER DATABASE "+db+" SET pgaudit.log = 'write'", "ALTER DATABASE "+db+" SET pgaudit.log_parameter = on")
		}})
	}
	o := &overhead{t: t, pg: harness.PostgresOf(t, bin, settings), report: report, variants: variants, rows: rows, divisor: divisor}
	for i, v := range variants {
		db := "v" + strconv.Itoa(i)
		o.pg.Exec("CREATE DATABASE " + db)
		o.exec(db, strings.ReplaceAll(overheadTables, "{rows}", strconv.Itoa(rows)))
		if v.prepare != nil {
			v.prepare(o, db)
		}
		v.backend = NewBackend(o.connect(db))
	}
	o.exec("v0", "CHECKPOINT")
	return o
}

func guardOn(table, when string) setup.Guard {
	return setup.Guard{Name: "of " + table, Table: "public." + table, Operations: []string{"insert", "update"}, When: when, Require: setup.Requirement{Actor: true}}
}

func (o *overhead) connect(db string) *pgx.Conn {
	o.t.Helper()
	conn, err := pgx.Connect(context.Background(), o.pg.Server.DSN(db))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (o *overhead) exec(db string, statements ...string) {
	o.t.Helper()
	conn := o.connect(db)
	defer conn.Close(context.Background())
	for _, s := range statements {
		if _, err := conn.Exec(context.Background(), s, pgx.QueryExecModeSimpleProtocol); err != nil {
			o.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (o *overhead) fullIdentity(db string) {
	for _, table := range strings.Fields("wide pgbench_branches pgbench_tellers pgbench_accounts pgbench_history") {
		o.exec(db, "ALTER TABLE "+table+" REPLICA IDENTITY FULL")
	}
}

// witnessed sets the database up. The slot is dropped again: nobody reads from
// it, and it would keep the log of all variants.
func (o *overhead) witnessed(db string, guards ...setup.Guard) {
	o.t.Helper()
	ctx := context.Background()
	cfg := setup.Config{DSN: o.pg.Server.DSN(db), Slot: db, Publication: db, Tables: []setup.Table{{Name: "public.*"}}, Guards: guards}
	plan, err := setup.Prepare(ctx, cfg)
	if err == nil {
		err = setup.Apply(ctx, cfg, plan, nil)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	o.exec(db, "SELECT pg_drop_replication_slot('"+db+"')")
}

// workload is something done n times on one connection.
type workload struct {
	name string
	n    int
	do   func(ctx context.Context, conn *pgx.Conn, n int) error
	unit int // changes that each of n stands for, 0: one
}

// run measures all workloads and returns their tables.
func (o *overhead) run(runs int) []Block {
	major := o.pg.Value("SHOW server_version")
	var blocks []Block
	var names []string
	for _, v := range o.variants {
		names = append(names, v.name)
	}
	for _, w := range o.workloads() {
		title := w.name + ", PostgreSQL " + major
		for _, v := range o.variants { // plans, caches and pages of the workload
			o.once(v, w, "")
		}
		Interleave(runs, o.variants, func(v *variant) { o.once(v, w, title) })
		blocks = append(blocks, Block{Workload: title, Variants: names, Metrics: []string{walMetric, cpuMetric, logMetric}})
	}
	return blocks
}

// once runs a workload on a variant, and reports it unless title is empty.
func (o *overhead) once(v *variant, w workload, title string) {
	o.t.Helper()
	ctx := context.Background()
	if _, err := v.backend.Conn.Exec(ctx, "VACUUM"); err != nil {
		o.t.Fatal(err)
	}
	cost, err := v.backend.Measure(ctx, func() error { return w.do(ctx, v.backend.Conn, w.n) })
	if err != nil {
		o.t.Fatalf("%s, %s: %v", w.name, v.name, err)
	}
	if title == "" {
		return
	}
	n := float64(w.n * max(w.unit, 1))
	o.report.Add(title, v.name, walMetric, float64(cost.WAL)/n)
	o.report.Add(title, v.name, cpuMetric, float64(cost.CPU.Nanoseconds())/1000/n)
	o.report.Add(title, v.name, logMetric, float64(cost.Log)/n)
}

const (
	tpcb    = "TPC-B, per transaction"
	single  = "UPDATE of one row, each a transaction"
	claimed = "UPDATE of one row with actor and reason set, each a transaction"
	batch   = "UPDATE of all rows, per row"
	again   = "statement in a transaction that is stamped already"
)

func (o *overhead) workloads() []workload {
	return []workload{
		{tpcb, 1000 / o.divisor, bankTransactions, 0},
		{single, 2000 / o.divisor, o.singleUpdates, 0},
		{claimed, 1000 / o.divisor, o.claimedUpdates, 0},
		{again, 10000 / o.divisor, repeatedStatements, 0},
		{batch, 1, updateAll, o.rows},
	}
}

// bankTransactions is what pgbench does by default.
func bankTransactions(ctx context.Context, conn *pgx.Conn, n int) error {
	for i := range n {
		aid, tid, bid, delta := i*7919%10000+1, i%100+1, i%10+1, i%1000-500
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2", delta, aid); err != nil {
				return err
			}
			var balance int
			if err := tx.QueryRow(ctx, "SELECT abalance FROM pgbench_accounts WHERE aid = $1", aid).Scan(&balance); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2", delta, tid); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2", delta, bid); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, now())", tid, bid, aid, delta)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const updateOne = "UPDATE wide SET status = $1, updated_at = now() WHERE id = $2"

func (o *overhead) singleUpdates(ctx context.Context, conn *pgx.Conn, n int) error {
	for i := range n {
		if _, err := conn.Exec(ctx, updateOne, "shipped", i*7919%o.rows+1); err != nil {
			return err
		}
	}
	return nil
}

func (o *overhead) claimedUpdates(ctx context.Context, conn *pgx.Conn, n int) error {
	for i := range n {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			const claims = "SELECT set_config('audit.actor_id', $1, true), set_config('audit.reason_code', $2, true)"
			if _, err := tx.Exec(ctx, claims, "alice@shop.example", "customer_request"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, updateOne, "delivered", i*7919%o.rows+1)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// repeatedStatements are statements of one transaction that find no row, so that
// little but the trigger is measured.
func repeatedStatements(ctx context.Context, conn *pgx.Conn, n int) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for range n {
			if _, err := tx.Exec(ctx, updateOne, "paid", -1); err != nil {
				return err
			}
		}
		return nil
	})
}

func updateAll(ctx context.Context, conn *pgx.Conn, _ int) error {
	_, err := conn.Exec(ctx, "UPDATE wide SET status = 'archived', updated_at = now()")
	return err
}

// goals holds the bytes against what was promised, and returns a line about them
// and the times, which depend on what else the machine does.
func (o *overhead) goals() string {
	major := o.pg.Value("SHOW server_version")
	more := func(w, metric string) float64 {
		title := w + ", PostgreSQL " + major
		return o.report.Median(title, stamps, metric) - o.report.Median(title, full, metric)
	}
	for w, goal := range map[string]float64{tpcb: stampBytes, single: stampBytes, claimed: claimBytes} {
		if got := more(w, walMetric); got > goal || got < 50 {
			o.t.Errorf("%s: a stamp costs %.0f bytes of write-ahead log, want at most %.0f", w, got, goal)
		}
	}
	if got := o.report.Median(single+", PostgreSQL "+major, stamps, walMetric); got > updateBytes {
		o.t.Errorf("a stamped UPDATE of one row costs %.0f bytes of write-ahead log, want at most %d", got, updateBytes)
	}
	if got := more(batch, walMetric); got > 1 {
		o.t.Errorf("a stamp costs %.1f bytes per row of a large UPDATE", got)
	}
	return fmt.Sprintf("a stamp: %.0f bytes without claims (goal: %d), %.0f with actor and reason; a statement that is stamped already: %.1f us (goal on an idle machine: %.1f)\n",
		more(single, walMetric), stampBytes, more(claimed, walMetric), more(again, cpuMetric), statementMicro)
}
