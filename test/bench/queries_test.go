package bench

import (
	_ "embed"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
)

//go:embed entries.sql
var entriesSQL string

// The goals: bytes, and shares of a throughput.
const (
	baseBytes   = 110  // of an entry, as the chain has it
	allBytes    = 250  // with all projections and indexes
	insertShare = 0.70 // of the throughput of the same table without projections
	agedShare   = 0.90 // of the throughput when a million entries were stored
	faster      = 10.0 // than PostgreSQL, where that takes more than slowMillis
	slowMillis  = 50
)

const (
	// firstProbe is how many entries are stored when inserts are measured first.
	firstProbe = 1_000_000
	// fillStep is how many entries one statement makes.
	fillStep = 400_000
	// liveInsert is how many entries the sidecar sends at once when little happens.
	liveInsert = 1000
	// settleLimit is how long merges may take to come to rest.
	settleLimit = 10 * time.Minute
)

// archive is a trail of a shop, on a server of its own.
type archive struct {
	t       *testing.T
	ch      *harness.CH
	report  *Report
	entries int
	reader  store.Server
	trail   *trail.Trail
	known   subjects
}

// TestQueries measures questions over many entries, what they cost in bytes and
// when inserting, and the same questions to an audit table in PostgreSQL:
// `make bench-queries` asks 20 million. In small it holds that each answer is
// that of the table itself, and comes from the projection that is meant for it.
func TestQueries(t *testing.T) {
	folder := os.Getenv(Variable)
	runs, entries := 1, 80_000
	if folder != "" {
		runs, entries = countOf(t, RunsVariable, 9), countOf(t, RowsVariable, 20_000_000)
	}
	a := newArchive(t, runs, entries)
	var text strings.Builder
	fmt.Fprintf(&text, "%d CPUs, %s; ClickHouse %s with the settings of the reader: max_threads %s; %d entries.\n", a.report.Machine.CPUs, a.report.Machine.CPU,
		a.ch.Value("SELECT version()"), a.ch.Value("SELECT toString(getSetting('max_threads'))"), entries)
	p := newProbe(a)
	live := entries - min(20*liveInsert, entries/10)
	a.fill(0, min(live, firstProbe))
	p.measure(young, runs)
	a.fill(min(live, firstProbe), live)
	a.settle(live)
	text.WriteString(a.bytes())
	a.known = a.lookAround()
	a.hold()
	var audit *auditTrail
	if folder != "" {
		audit = newAuditTrail(a)
	}
	text.WriteString(a.ask(audit, runs))
	p.measure(aged, runs)
	text.WriteString(p.summary())
	t.Logf("\n%s", text.String())
	if folder != "" {
		if err := a.report.Write(folder, text.String()); err != nil {
			t.Fatal(err)
		}
	}
}

func newArchive(t *testing.T, runs, entries int) *archive {
	t.Helper()
	a := &archive{t: t, ch: harness.ClickHouseServer(t), report: NewReport("queries", runs), entries: entries}
	a.migrate(a.ch.Database)
	a.reader = a.server("reader", a.ch.Database)
	a.trail = trail.New(a.reader)
	return a
}

func (a *archive) server(user, database string) store.Server {
	a.t.Helper()
	s, err := store.Parse(a.ch.Server.DSN(user, database))
	if err != nil {
		a.t.Fatal(err)
	}
	s.Compress = false // as to any server on this machine
	return s
}

// migrate makes the tables of the product in a database.
func (a *archive) migrate(database string) {
	a.t.Helper()
	if _, err := sink.Migrate(a.t.Context(), a.server(engine.Admin, database)); err != nil {
		a.t.Fatal(err)
	}
}

// small says that nothing is measured here, only held.
func (a *archive) small() bool { return a.entries < fillStep }

// table names the table with its database.
func (a *archive) table() string { return a.ch.Database + ".audit_logs" }

// fill stores the entries from one on up to another, in blocks like those of the
// sidecar.
func (a *archive) fill(from, to int) {
	a.t.Helper()
	before, began := storeTime(a.t, a.ch), time.Now()
	for at := from; at < to; at += fillStep {
		n := min(fillStep, to-at)
		if a.small() {
			n = min((a.entries+2)/3, to-at) // several parts
		}
		a.make(at, n)
		at += n - fillStep
	}
	took := time.Since(began)
	a.t.Logf("%d entries stored in %s, %.1f us of ClickHouse an entry, merges so far and making them included", to-from, took.Round(time.Second), micro(storeTime(a.t, a.ch)-before)/float64(max(to-from, 1)))
}

func (a *archive) make(first, count int) {
	a.t.Helper()
	statement := strings.NewReplacer("{first}", strconv.Itoa(first), "{count}", strconv.Itoa(count), "{total}", strconv.Itoa(a.entries),
		"INTO audit_logs", "INTO "+a.table()).Replace(entriesSQL)
	a.ch.Exec(statement)
}

// settle waits until merges are at rest, and has done what time would do: the
// last inserts of a fill find company, and get their projections, within hours,
// for which a benchmark does not wait. What it leaves is the inserts of the last
// seconds, as small as they are when nothing is behind.
func (a *archive) settle(from int) {
	a.t.Helper()
	a.rest()
	admin, err := a.server(engine.Admin, a.ch.Database).Open(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	defer admin.Close()
	for _, name := range projections() {
		if err := admin.Exec(a.t.Context(), "ALTER TABLE audit_logs MATERIALIZE PROJECTION "+name+" SETTINGS mutations_sync = 2"); err != nil {
			a.t.Fatal(err)
		}
	}
	// A month that is over is merged into one part after two days (0011_months.sql).
	months := a.ch.Value("SELECT arrayStringConcat(arrayPopBack(arraySort(groupUniqArray(partition))), ' ') FROM system.parts WHERE active AND database = '" + a.ch.Database + "' AND table = 'audit_logs'")
	for month := range strings.FieldsSeq(months) {
		if err := admin.Exec(a.t.Context(), "OPTIMIZE TABLE audit_logs PARTITION ID '"+month+"' FINAL"); err != nil {
			a.t.Fatal(err)
		}
	}
	for at := from; at < a.entries; at += liveInsert {
		a.make(at, min(liveInsert, a.entries-at))
	}
	a.rest()
}

// projections are those of audit_logs.
func projections() []string { return []string{"by_resource", "by_actor", "actor_emails"} }

func (a *archive) rest() {
	a.t.Helper()
	deadline := time.Now().Add(settleLimit)
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for quiet := 0; quiet < 5; quiet++ {
		if a.ch.Value("SELECT count() FROM system.merges") != "0" {
			quiet = 0
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("merges go on after %s", settleLimit)
		}
		<-tick.C
	}
}

// bytes tells what an entry takes on disk.
func (a *archive) bytes() string {
	a.t.Helper()
	number := func(what string) float64 {
		v, err := strconv.ParseFloat(a.ch.Value(strings.ReplaceAll(what, "{where}", "active AND database = '"+a.ch.Database+"' AND table = 'audit_logs'")), 64)
		if err != nil {
			a.t.Fatal(err)
		}
		return v
	}
	const title, variant = "bytes on disk, per entry", "with projections"
	// Parts that no merge has given its projections yet would flatter the sum.
	projected := number("SELECT sum(rows) FROM system.parts WHERE {where} AND notEmpty(projections)")
	whole := number("SELECT sum(bytes_on_disk) FROM system.parts WHERE {where} AND notEmpty(projections)") / projected
	b := Block{Workload: title, Variants: []string{variant}, Metrics: append([]string{"all"}, projections()...)}
	a.report.Add(title, variant, "all", whole)
	base := whole
	for _, name := range b.Metrics[1:] {
		size := number("SELECT sum(bytes_on_disk) FROM system.projection_parts WHERE {where} AND name = '"+name+"'") / projected
		a.report.Add(title, variant, name, size)
		base -= size
	}
	a.report.Add(title, variant, "chain and indexes", base)
	b.Metrics = append([]string{"chain and indexes"}, b.Metrics...)
	a.report.Summarise(b)
	if !a.small() && (base > baseBytes || whole > allBytes) {
		a.t.Errorf("an entry takes %.1f bytes, %.1f with all projections; want at most %d and %d", base, whole, baseBytes, allBytes)
	}
	parts := a.ch.Value("SELECT concat(toString(count()), ' parts, ', toString(sum(rows)), ' entries of them without projections yet: ', toString(sumIf(rows, empty(projections)))) FROM system.parts WHERE active AND database = '" + a.ch.Database + "' AND table = 'audit_logs'")
	return fmt.Sprintf("\n%s%s\ngoals: %d, %d with everything\n", a.report.Table(b), parts, baseBytes, allBytes)
}
