package bench

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
)

//go:embed pipeline.sql
var pipelineTables string

// Who drains a slot. The first is what the others are compared with.
const (
	receiver    = "pg_recvlogical"
	recvlogical = receiver + " to /dev/null"
	loop        = "pglogrepl, parsed and thrown away"
	peer        = "the program of " + PeerVariable
	backlogLane = "pgwitness, backlog: sealed and stored"
	liveLane    = "pgwitness, streaming: sealed and stored"
)

const (
	rateMetric   = "changes/s"
	serverMetric = "server CPU us"
	readerMetric = "reader CPU us"
	storeMetric  = "ClickHouse CPU us"
	allMetric    = "all CPU us"
	allocMetric  = "allocations"
	peakMetric   = "peak MiB"
	ackMetric    = "s to acknowledge"
)

// content is what a slot holds.
type content struct {
	table   string
	rows    int // of each transaction
	changes int // with the one that marks the end
	end     string
}

func (c content) String() string {
	return fmt.Sprintf("%s rows, %d in a transaction", c.table, c.rows)
}

// drained is what a drain took.
type drained struct {
	took   time.Duration // until everything was had; by us: stored
	before time.Duration // processor time of PostgreSQL up to the beginning
	reader time.Duration // of processor time
	store  time.Duration // likewise, of ClickHouse
	peak   int64         // bytes, of ours
	allocs float64       // likewise
	acked  time.Duration // from stored to acknowledged

	received, sent int64 // bytes, by us
}

// reader drains the slot called benched once.
type reader struct {
	name  string
	drain func(p *pipeline, c content) drained
	once  bool // in the first run only: it is slow, and no goal is about it
}

// pipeline is one server whose slots are drained.
type pipeline struct {
	t       testing.TB
	pg      *harness.PG
	ch      *harness.CH
	sidecar *sidecar
	report  *Report
	readers []reader

	profiles string // folder for profiles of the sidecar; "": none
}

// benched is the slot that is drained, a copy of kept.
const benched, kept = "pgwitness_bench", "content"

// contents are those that are measured, in front those with goals. The others
// are a fifth as long.
func contents(changes int) []content {
	return []content{
		{table: "narrow", rows: 1, changes: changes}, {table: "wide", rows: 1000, changes: changes},
		{table: "narrow", rows: 1000, changes: changes / 5}, {table: "wide", rows: 1, changes: changes / 5},
	}
}

// TestPipeline measures how fast the whole pipeline drains a slot, and others
// who do less: `make bench-pipeline` runs it at full length, `make profile` with
// profiles of the sidecar. In small it holds that each of them gets everything.
func TestPipeline(t *testing.T) {
	folder := os.Getenv(Variable)
	runs, measured := 1, contents(1000)[1:2]
	if folder != "" {
		runs, measured = countOf(t, RunsVariable, 3), contents(countOf(t, RowsVariable, 1_000_000))
	}
	p := newPipeline(t, folder != "", runs)
	var text strings.Builder
	fmt.Fprintf(&text, "%d CPUs, %s; PostgreSQL %s; %d changes, a fifth where there are no goals; medians of %d runs, the readers in turn; per change; ratios to %s.\n",
		p.report.Machine.CPUs, p.report.Machine.CPU, p.pg.Value("SHOW server_version"), measured[0].changes, runs, p.readers[0].name)
	for _, c := range measured {
		t.Run(c.String(), func(t *testing.T) {
			b := p.measure(c, runs)
			p.report.Summarise(b)
			table := fmt.Sprintf("\n%s%s", p.report.Table(b), p.verdict(c))
			t.Log(table)
			text.WriteString(table)
			if folder != "" { // after each, so that a long run that is broken off leaves what it has
				if err := p.report.Write(folder, text.String()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// countOf reads a number from the environment.
func countOf(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, not a positive number", name, text)
	}
	return n
}

func newPipeline(t testing.TB, full bool, runs int) *pipeline {
	t.Helper()
	settings := map[string]string{
		"wal_level": "logical", "synchronous_commit": "off", "autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "32GB", "shared_buffers": "256MB",
	}
	p := &pipeline{t: t, pg: harness.PostgresServer(t, 0, settings), ch: harness.ClickHouse(t), report: NewReport("pipeline", runs)}
	p.pg.Exec(pipelineTables)
	p.sidecar = newSidecar(t, p.pg, p.ch, full)
	p.sidecar.setUp()
	if path, err := exec.LookPath(receiver); err == nil {
		p.readers = append(p.readers, reader{recvlogical, receiveBy(path), false})
	}
	if p.profiles = os.Getenv(ProfileVariable); p.profiles != "" {
		p.readers = nil // there is nothing to compare
		return p.withOurs()
	}
	p.readers = append(p.readers, reader{loop, drainBy(p.buildLoop()), true})
	if program := os.Getenv(PeerVariable); program != "" {
		p.readers = append(p.readers, reader{peer, drainBy(program), false})
	}
	return p.withOurs()
}

// withOurs adds the two lanes of the sidecar, the first from a megabyte on, and
// those of the build that it is compared with, if there is one.
func (p *pipeline) withOurs() *pipeline {
	binary := p.sidecar.binary
	lane := func(binary, folder string, backlog int) func(p *pipeline, c content) drained {
		return func(p *pipeline, c content) drained {
			if p.profiles != "" {
				p.sidecar.profile = filepath.Join(p.profiles, folder, c.table+"-"+strconv.Itoa(c.rows))
			}
			p.sidecar.binary = binary
			return p.sidecar.drain(c, backlog)
		}
	}
	p.readers = append(p.readers, reader{backlogLane, lane(binary, "backlog", 1<<20), false}, reader{liveLane, lane(binary, "streaming", -1), false})
	if against := os.Getenv(AgainstVariable); against != "" {
		const of = ", of the build it is compared with"
		p.readers = append(p.readers, reader{backlogLane + of, lane(against, "backlog-against", 1<<20), false}, reader{liveLane + of, lane(against, "streaming-against", -1), false})
	}
	return p
}

// buildLoop builds the program of the folder loop.
func (p *pipeline) buildLoop() string {
	p.t.Helper()
	path := filepath.Join(harness.Folder(p.t), "loop")
	if said, err := exec.Command("go", "build", "-o", path, "./loop").CombinedOutput(); err != nil {
		p.t.Fatalf("build loop: %v\n%s", err, said)
	}
	return path
}

// measure fills a slot and lets every reader drain a copy of it in each run.
func (p *pipeline) measure(c content, runs int) Block {
	p.t.Helper()
	p.fill(&c)
	defer p.pg.Exec("SELECT pg_drop_replication_slot('" + kept + "')")
	Interleave(runs, p.readers, func(r reader) {
		if r.once && p.report.Median(c.String(), r.name, rateMetric) != 0 {
			return
		}
		p.pg.Exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '" + benched + "'")
		p.pg.Exec("SELECT pg_copy_logical_replication_slot('" + kept + "', '" + benched + "')")
		d := r.drain(p, c)
		p.sidecar.released()
		n := float64(c.changes)
		add := func(metric string, v float64) { p.report.Add(c.String(), r.name, metric, v) }
		add(rateMetric, n/d.took.Seconds())
		server := p.sidecar.serverTime() - d.before
		add(allMetric, micro(server+d.reader+d.store)/n)
		add(serverMetric, micro(server)/n)
		add(readerMetric, micro(d.reader)/n)
		if d.store != 0 {
			add(storeMetric, micro(d.store)/n)
			add(peakMetric, float64(d.peak)/(1<<20))
			add(allocMetric, d.allocs/n)
			add(ackMetric, d.acked.Seconds())
		}
	})
	var names []string
	for _, r := range p.readers {
		names = append(names, r.name)
	}
	return Block{Workload: c.String(), Variants: names, Metrics: []string{rateMetric, allMetric, serverMetric, readerMetric, storeMetric, allocMetric, peakMetric, ackMetric}}
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// fill makes the slot kept, and the content behind it. One more row stands
// behind the end, by which every reader notices that he has come there.
func (p *pipeline) fill(c *content) {
	p.t.Helper()
	p.pg.Exec("TRUNCATE " + c.table)
	p.pg.Exec("SELECT pg_create_logical_replication_slot('" + kept + "', 'pgoutput')")
	conn := p.pg.Connect()
	defer conn.Close(p.t.Context())
	for _, statement := range []string{fmt.Sprintf("CALL load_%s(%d, %d)", c.table, c.changes, min(c.rows, c.changes)), "CHECKPOINT"} {
		if _, err := conn.Exec(p.t.Context(), statement); err != nil {
			p.t.Fatalf("%s: %v", statement, err)
		}
	}
	c.end = p.pg.Value("SELECT pg_current_wal_flush_lsn()")
	p.pg.Exec("INSERT INTO " + c.table + " SELECT (t).* FROM (SELECT jsonb_populate_record(x, '{\"id\": -1}') AS t FROM " + c.table + " x LIMIT 1) y")
	c.changes++
}
