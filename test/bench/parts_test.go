package bench

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

// SecondsVariable changes how long a benchmark goes on that has a duration.
const SecondsVariable = "PGWITNESS_BENCH_SECONDS"

const (
	// partsGoal is how many parts of a partition may be active: beyond some
	// hundreds ClickHouse slows inserts down, and every question reads all.
	partsGoal = 100
	// partsOfMonths counts them, by partition; its parameter is the database.
	partsOfMonths = "(SELECT partition, count() AS n FROM system.parts WHERE active AND database = ? AND table = 'audit_logs' GROUP BY partition)"
	// partStreams is how many streams share the table.
	partStreams = 3
	// partRows is how many entries an insert has: few, as at night.
	partRows = 20
	// partStages is how many rows the table of the report has.
	partStages = 8

	insertMetric   = "inserts so far"
	partMetric     = "most active parts of a month"
	allPartsMetric = "most in all"
	mergeMetric    = "ClickHouse CPU ms an insert"
	partsTitle     = "active parts, by stage of the run"
)

// parts is a trail that several streams insert into, as often as the pipeline
// does at its most.
type parts struct {
	t       *testing.T
	ch      *harness.CH
	report  *Report
	pause   time.Duration // of one stream, from insert to insert
	inserts int           // of each stream
	months  int           // that the commit times of a run go through
	done    atomic.Int64  // inserts, of all
	stages  []string      // of the run, by name
}

// TestParts measures how many parts pile up while every stream inserts once in
// each window: `make bench-parts` does so for minutes, or for PGWITNESS_BENCH_SECONDS.
// In small, without any pause, it holds that merges keep up.
func TestParts(t *testing.T) {
	folder := os.Getenv(Variable)
	p := &parts{t: t, ch: clickHouse(t, folder != ""), report: NewReport("parts", 1), inserts: 80, months: 2}
	if folder != "" {
		p.pause, p.months = 500*time.Millisecond, 3 // the default of batch.window
		p.inserts = countOf(t, SecondsVariable, 240) * int(time.Second/p.pause)
	}
	if _, err := sink.Migrate(t.Context(), p.server(engine.Admin)); err != nil {
		t.Fatal(err)
	}
	writers, ctx := errgroup.WithContext(t.Context())
	for i := range partStreams {
		writers.Go(func() error { return p.write(ctx, fmt.Sprintf("s%d", i)) })
	}
	ended := make(chan error, 1)
	go func() { ended <- writers.Wait() }()
	most := p.watch(ended)
	p.report.Summarise(p.block())
	months := p.ch.Value("SELECT uniqExact(toYYYYMM(timestamp)) FROM " + p.table())
	text := fmt.Sprintf("%d CPUs, %s; %d streams, each an insert of %d entries every %s, through %s months; goal: under %d.\n\n%s",
		p.report.Machine.CPUs, p.report.Machine.CPU, partStreams, partRows, p.pause, months, partsGoal, p.report.Table(p.block()))
	t.Logf("\n%s", text)
	if folder != "" {
		if err := p.report.Write(folder, text); err != nil {
			t.Fatal(err)
		}
	}
	if most >= partsGoal {
		t.Errorf("%.0f parts of one month were active at a time, want under %d", most, partsGoal)
	}
	if got, want := p.ch.Value("SELECT count() FROM "+p.table()), fmt.Sprint(partStreams*p.inserts*partRows); got != want || months != fmt.Sprint(p.months) {
		t.Errorf("%s entries of %s months, want %s of %d", got, months, want, p.months)
	}
}

func (p *parts) table() string { return p.ch.Database + ".audit_logs" }

func (p *parts) server(user string) store.Server {
	p.t.Helper()
	s, err := store.Parse(p.ch.DSN(user))
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// write inserts a chain, on time: a slow insert is followed by the next at once.
// Where the month changes it makes two inserts of one, as the pipeline does.
func (p *parts) write(ctx context.Context, stream string) error {
	server, err := store.Parse(p.ch.DSN("sink"))
	if err != nil {
		return err
	}
	k := sink.New(server, sink.DefaultConfig(), stream, zerolog.Nop())
	defer k.Close()
	sealer, head := chain.New([32]byte{1}, 1), audit.Head{}
	began := time.Now()
	for n := range p.inserts {
		select {
		case <-time.After(time.Until(began.Add(time.Duration(n) * p.pause))):
		case <-ctx.Done():
			return ctx.Err()
		}
		entries := p.entries(stream, n)
		for len(entries) > 0 {
			same := 1
			for same < len(entries) && sink.SameMonth(entries[same].Timestamp, entries[0].Timestamp) {
				same++
			}
			sealer.Seal(head, entries[:same])
			b, err := k.Prepare(entries[:same])
			if err != nil {
				return err
			}
			if head, err = k.Insert(ctx, head, b); err != nil {
				return err
			}
			entries = entries[same:]
		}
		p.done.Add(1)
	}
	return nil
}

// entries are those of the n-th insert. Their commit times go evenly from the
// middle of one month to the middle of another.
func (p *parts) entries(stream string, n int) []audit.Entry {
	begin := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	step := begin.AddDate(0, p.months-1, 0).Sub(begin) / time.Duration(p.inserts*partRows)
	entries := make([]audit.Entry, partRows)
	for i := range entries {
		e, nth := &entries[i], n*partRows+i
		e.Stream, e.Timestamp = stream, begin.Add(time.Duration(nth)*step).UnixMicro()
		e.CommitLSN, e.Ordinal = audit.LSN(nth+1)<<8, 0
		e.ID = audit.EntryID(stream, e.Timestamp, e.Position())
		e.ActorID, e.ActorType, e.Action, e.Operation = audit.T(fmt.Sprintf("u-%d", nth%50)), audit.T("human"), audit.T("update"), audit.T("update")
		e.ResourceType, e.ResourceID = audit.T("order"), audit.T(fmt.Sprint(nth%1000))
		e.SchemaName, e.TableName = audit.T("public"), audit.T("orders")
		e.OldValues = audit.T(fmt.Sprintf(`{"id":%d,"status":"paid","total":"249.90"}`, nth%1000))
		e.NewValues = audit.T(fmt.Sprintf(`{"id":%d,"status":"shipped","total":"%d.90"}`, nth%1000, nth%400))
		e.Changed = []string{"status", "total"}
	}
	return entries
}

// watch counts the active parts until the writers have ended, and returns the
// most that any month had at a time. The report has the most of each stage.
func (p *parts) watch(ended <-chan error) (most float64) {
	p.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	total := float64(partStreams * p.inserts)
	var month, all, done float64
	spent := storeTime(p.t, p.ch)
	for over := false; !over; {
		select {
		case err := <-ended:
			if over = true; err != nil {
				p.t.Fatal(err)
			}
		case <-tick.C:
		}
		nowMonth, nowAll := p.count()
		month, all = max(month, nowMonth), max(all, nowAll)
		if now := float64(p.done.Load()); over || now >= total*float64(len(p.stages)+1)/partStages {
			name, time := fmt.Sprintf("the first %.0f%%", 100*now/total), storeTime(p.t, p.ch)
			p.stages = append(p.stages, name)
			p.report.Add(partsTitle, name, insertMetric, now)
			p.report.Add(partsTitle, name, partMetric, month)
			p.report.Add(partsTitle, name, allPartsMetric, all)
			p.report.Add(partsTitle, name, mergeMetric, (time-spent).Seconds()*1000/max(1, now-done))
			most, month, all, done, spent = max(most, month), 0, 0, now, time
		}
	}
	return most
}

// count returns the active parts of the month that has most, and those of all.
func (p *parts) count() (month, all float64) {
	p.t.Helper()
	const query = "SELECT concat(toString(max(n)), ' ', toString(sum(n))) FROM " + partsOfMonths
	if _, err := fmt.Sscan(p.ch.Value(query, p.ch.Database), &month, &all); err != nil {
		p.t.Fatal(err)
	}
	return month, all
}

func (p *parts) block() Block {
	return Block{Workload: partsTitle, Plain: true, Variants: p.stages, Metrics: []string{insertMetric, partMetric, allPartsMetric, mergeMetric}}
}
