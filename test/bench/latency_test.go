package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/test/harness"
)

// The goals, in milliseconds from a commit until the trail answers with it.
const (
	middleGoal = 400
	lateGoal   = 1000
)

const (
	// askPause is the pause between two questions to the trail. What is found in
	// an answer counts from its arrival, so that the pause counts against us.
	askPause = 10 * time.Millisecond
	// partsPause is the pause between two looks at the parts of the table.
	partsPause = time.Second
	// generators is how many connections commit, in turn.
	generators = 8
	// quietPause is the time between two single commits, longer than the window.
	quietPause = 800 * time.Millisecond

	p50Metric = "p50 ms"
	p90Metric = "p90 ms"
	p99Metric = "p99 ms"
	maxMetric = "max ms"

	sinceCommit = "from the commit"
	sinceDue    = "from when the commit was due"
	sinceQuiet  = "from a single commit after a pause"

	shareMetric  = "% of a processor"
	perTxMetric  = "us a transaction"
	memoryMetric = "peak MiB"

	latencyTable = "CREATE TABLE payments (id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2) NOT NULL, currency char(3) NOT NULL, status text NOT NULL, placed_at timestamptz NOT NULL DEFAULT now())"
	payment      = "INSERT INTO payments VALUES ($1, $2, $3, 'EUR', 'paid')"
)

// latency is a server and a sidecar at its defaults.
type latency struct {
	t        *testing.T
	pg       *harness.PG
	ch       *harness.CH
	sidecar  *sidecar
	report   *Report
	blocks   []Block
	findings []string // lines below the tables
}

// TestLatency measures how long a commit takes until it can be asked for, while
// 2,000 a second come on a fixed schedule, and what that costs the transactions
// of pgbench: `make bench-latency` runs it at full length. In small it holds that
// every commit is found.
func TestLatency(t *testing.T) {
	folder := os.Getenv(Variable)
	rate, seconds, quiet, runs, slice := 200, 1, 1, 1, 1
	if folder != "" {
		rate, seconds, quiet, runs, slice = 2000, countOf(t, SecondsVariable, 60), 10, countOf(t, RunsVariable, 11), 6
	}
	l := newLatency(t, folder != "", runs)
	title := fmt.Sprintf("commit to queryable, %d transactions/s for %d s", rate, seconds)
	l.load(title, rate, seconds)
	l.quiet("commit to queryable, quiet", quiet)
	l.sidecar.stop()
	l.bank(runs, slice, folder != "")
	var text strings.Builder
	fmt.Fprintf(&text, "%d CPUs, %s; PostgreSQL %s, synchronous_commit on, fsync off unless a title says on; the sidecar at its defaults (a window of 500 ms).\n",
		l.report.Machine.CPUs, l.report.Machine.CPU, l.pg.Value("SHOW server_version"))
	for _, b := range l.blocks {
		l.report.Summarise(b)
		fmt.Fprintf(&text, "\n%s", l.report.Table(b))
	}
	fmt.Fprintf(&text, "\n%s\n", strings.Join(l.findings, "\n"))
	t.Logf("\n%s", text.String())
	if folder != "" {
		if err := l.report.Write(folder, text.String()); err != nil {
			t.Fatal(err)
		}
	}
}

func newLatency(t *testing.T, full bool, runs int) *latency {
	t.Helper()
	settings := map[string]string{"wal_level": "logical", "autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "32GB", "shared_buffers": "256MB"}
	l := &latency{t: t, pg: harness.PostgresServer(t, 0, settings), ch: clickHouse(t, full), report: NewReport("latency", runs)}
	l.pg.Exec(latencyTable)
	l.fillBank()
	l.sidecar = newSidecar(t, l.pg, l.ch, full)
	l.sidecar.setUp()
	l.sidecar.start(l.sidecar.defaults())
	t.Cleanup(l.sidecar.kill)
	l.sidecar.sync()
	return l
}

// clickHouse is an engine, at full length one that does nothing else.
func clickHouse(t *testing.T, full bool) *harness.CH {
	t.Helper()
	if full {
		return harness.ClickHouseServer(t)
	}
	return harness.ClickHouse(t)
}

// find says something below the tables.
func (l *latency) find(format string, args ...any) {
	l.findings = append(l.findings, fmt.Sprintf(format, args...))
}

// sight is an answer of the trail: up to which sequence it had entries, at least.
type sight struct {
	at   time.Time
	size uint64
}

// load commits on schedule, whether or not anybody keeps up, and works out when
// each commit could be asked for.
func (l *latency) load(title string, rate, seconds int) {
	l.t.Helper()
	before := l.times()
	asking, stopAsking := context.WithCancel(l.t.Context())
	var sights []sight
	var parts []int
	watching, ctx := errgroup.WithContext(asking)
	watching.Go(func() (err error) { sights, err = l.watch(ctx); return err })
	watching.Go(func() (err error) { parts, err = l.watchParts(ctx); return err })
	due := l.commit(title, rate, seconds)
	l.sidecar.sync()
	stopAsking()
	if err := watching.Wait(); err != nil {
		l.t.Fatal(err)
	}
	l.spent(title, before, rate*seconds)
	l.delays(title, sights, due)
	if most := slices.Max(parts); len(parts) > 0 {
		l.find("active parts of the month: at most %d, %d at the end (goal: under %d)", most, parts[len(parts)-1], partsGoal)
	}
}

// commit makes rate transactions a second, each at its time, and returns when
// that was. A connection that is late goes on at once: what it owes is not
// forgotten.
func (l *latency) commit(title string, rate, seconds int) (due []time.Time) {
	l.t.Helper()
	due = make([]time.Time, rate*seconds)
	late := make([]time.Duration, generators)
	began := time.Now().Add(50 * time.Millisecond)
	for i := range due {
		due[i] = began.Add(time.Duration(i) * time.Second / time.Duration(rate))
	}
	g, ctx := errgroup.WithContext(l.t.Context())
	for n := range generators {
		conn := l.pg.Connect()
		g.Go(func() error {
			for i := n; i < len(due); i += generators {
				select {
				case <-time.After(time.Until(due[i])):
				case <-ctx.Done():
					return ctx.Err()
				}
				if _, err := conn.Exec(ctx, payment, i, i%500, fmt.Sprintf("%d.%02d", i%900, i%100)); err != nil {
					return err
				}
				late[n] = max(late[n], time.Since(due[i]))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		l.t.Fatal(err)
	}
	took := time.Since(began)
	l.find("%s: %.0f/s were committed, the latest %s behind its time", title, float64(len(due))/took.Seconds(), slices.Max(late).Round(time.Millisecond))
	return due
}

// watch asks the trail for its end, again and again, until ctx ends.
func (l *latency) watch(ctx context.Context) (sights []sight, err error) {
	conn := l.ch.Connect("reader")
	var size uint64
	for ctx.Err() == nil {
		if size, err = l.ask(conn, size); err != nil {
			return nil, err
		}
		sights = append(sights, sight{time.Now(), size})
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
		}
	}
	return sights, nil
}

// ask returns the number of entries that the trail answers with, which is known
// to be size at least. Entries become visible in the order of the chain.
func (l *latency) ask(conn driver.Conn, size uint64) (uint64, error) {
	var last, n uint64
	row := conn.QueryRow(context.Background(), "SELECT max(sequence), count() FROM audit_logs WHERE stream = 'bench' AND sequence >= ?", max(size, 1)-1)
	if err := row.Scan(&last, &n); err != nil {
		return 0, fmt.Errorf("ask the trail: %w", err)
	}
	if n == 0 {
		return 0, nil
	}
	return last + 1, nil
}

// watchParts counts the active parts of the trail until ctx ends.
func (l *latency) watchParts(ctx context.Context) (parts []int, err error) {
	conn := l.ch.Connect("sink")
	tick := time.NewTicker(partsPause)
	defer tick.Stop()
	for {
		var n uint64
		row := conn.QueryRow(context.Background(), "SELECT max(n) FROM "+partsOfMonths, l.ch.Database)
		if err := row.Scan(&n); err != nil {
			return nil, fmt.Errorf("count parts: %w", err)
		}
		parts = append(parts, int(n))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return parts, nil
		}
	}
}

// delays reports how long each commit took until an answer had it: from when
// PostgreSQL wrote the commit, and from when the schedule wanted it.
func (l *latency) delays(title string, sights []sight, due []time.Time) {
	l.t.Helper()
	var commits, plans []float64
	next := 0
	l.ch.Each(func(scan func(...any)) {
		var sequence uint64
		var at time.Time
		var id int64
		scan(&sequence, &at, &id)
		for next < len(sights) && sights[next].size <= sequence {
			next++
		}
		if next == len(sights) {
			l.t.Fatalf("the trail never answered with entry %d", sequence)
		}
		commits = append(commits, milli(sights[next].at.Sub(at)))
		plans = append(plans, milli(sights[next].at.Sub(due[id])))
	}, "SELECT sequence, timestamp, toInt64(assumeNotNull(resource_id)) FROM "+l.ch.Database+".audit_logs WHERE stream = 'bench' AND table_name = 'payments' AND sequence >= ? ORDER BY sequence", sights[0].size)
	if len(commits) != len(due) {
		l.t.Fatalf("the trail has %d commits of %d", len(commits), len(due))
	}
	l.percentiles(title, sinceCommit, commits)
	l.percentiles(title, sinceDue, plans)
	l.blocks = append(l.blocks, Block{Workload: title, Plain: true, Variants: []string{sinceCommit, sinceDue}, Metrics: []string{p50Metric, p90Metric, p99Metric, maxMetric}})
	l.find("goals: p50 %.0f ms of %d, p99 %.0f ms of %d", l.report.Median(title, sinceCommit, p50Metric), middleGoal, l.report.Median(title, sinceCommit, p99Metric), lateGoal)
}

func milli(d time.Duration) float64 { return d.Seconds() * 1000 }

func (l *latency) percentiles(title, variant string, all []float64) {
	slices.Sort(all)
	for metric, share := range map[string]float64{p50Metric: 0.5, p90Metric: 0.9, p99Metric: 0.99, maxMetric: 1} {
		l.report.Add(title, variant, metric, all[int(share*float64(len(all)-1))])
	}
}

// quiet commits a row now and then, and waits until each can be asked for.
func (l *latency) quiet(title string, commits int) {
	l.t.Helper()
	ask, conn := l.ch.Connect("reader"), l.pg.Connect()
	size, err := l.ask(ask, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	var all []float64
	for i := range commits {
		<-time.After(quietPause)
		if _, err := conn.Exec(l.t.Context(), payment, -1-i, i, "1.00"); err != nil {
			l.t.Fatal(err)
		}
		for at, before := time.Now(), size; ; {
			if size, err = l.ask(ask, before); err != nil {
				l.t.Fatal(err)
			}
			if size > before {
				all = append(all, milli(time.Since(at)))
				break
			}
		}
	}
	l.percentiles(title, sinceQuiet, all)
	l.blocks = append(l.blocks, Block{Workload: title, Plain: true, Variants: []string{sinceQuiet}, Metrics: []string{p50Metric, p90Metric, p99Metric, maxMetric}})
}

// processes is the processor time of each process up to now.
type processes struct {
	at                     time.Time
	server, sidecar, store time.Duration
}

func (l *latency) times() (p processes) {
	l.t.Helper()
	var errs [3]error
	p.at = time.Now()
	p.server, errs[0] = FamilyTime(l.pg.Server.PID())
	p.sidecar, errs[1] = OwnTime(l.sidecar.process.Process.Pid)
	p.store, errs[2] = OwnTime(l.ch.Server.PID())
	for _, err := range errs {
		if err != nil {
			l.t.Fatal(err)
		}
	}
	return p
}

// spent reports what the processes took since before.
func (l *latency) spent(title string, before processes, transactions int) {
	l.t.Helper()
	now := l.times()
	title += ": processor time"
	b := Block{Workload: title, Plain: true, Metrics: []string{shareMetric, perTxMetric, memoryMetric}}
	add := func(name string, d time.Duration, pid int) {
		peak, err := PeakMemory(pid)
		if err != nil {
			l.t.Fatal(err)
		}
		b.Variants = append(b.Variants, name)
		l.report.Add(title, name, shareMetric, 100*d.Seconds()/now.at.Sub(before.at).Seconds())
		l.report.Add(title, name, perTxMetric, micro(d)/float64(transactions))
		if name != "PostgreSQL, with the walsender" { // its memory is that of many processes
			l.report.Add(title, name, memoryMetric, float64(peak)/(1<<20))
		}
	}
	add("PostgreSQL, with the walsender", now.server-before.server, l.pg.Server.PID())
	add("pgwitness", now.sidecar-before.sidecar, l.sidecar.process.Process.Pid)
	add("ClickHouse, with our questions", now.store-before.store, l.ch.Server.PID())
	l.blocks = append(l.blocks, b)
}
