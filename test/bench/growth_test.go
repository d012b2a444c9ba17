package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/test/harness"
)

const (
	// growthBytes, growthRows and growthCells bound how much of a shape is
	// written: by the first of them.
	growthBytes = 30 << 20
	growthRows  = 20_000
	growthCells = 1_500_000
	// growthLeast is how many rows there are at least.
	growthLeast = 300
	// growthBatch is how many rows a transaction has.
	growthBatch = 100

	valueMetric   = "bytes of values"
	walBytes      = "WAL bytes"
	receivedBytes = "received"
	sentBytes     = "sent"
	diskBytes     = "on disk"
	perKBMetric   = "all CPU us a KB"
)

// shape is a kind of row.
type shape struct{ columns, bytes int }

func (s shape) String() string { return fmt.Sprintf("%d columns, %s", s.columns, size(s.bytes)) }

func (s shape) table() string { return fmt.Sprintf("shape_%d_%d", s.columns, s.bytes) }

func size(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%d KB", n/1000)
}

// rows is how many rows of the shape are written.
func (s shape) rows() int {
	return max(growthLeast, min(growthRows, growthBytes/s.bytes, growthCells/s.columns))
}

// shapes are those that are measured.
func shapes() (all []shape) {
	for _, columns := range []int{10, 50, 300} {
		for _, bytes := range []int{100, 1000, 10_000, 100_000} {
			all = append(all, shape{columns, bytes})
		}
	}
	return all
}

// TestGrowth measures what a change costs on its way through the whole pipeline,
// by the number of columns and the size of the row: `make bench-growth` runs it
// at full length. In small it holds that the widest row comes through.
func TestGrowth(t *testing.T) {
	folder := os.Getenv(Variable)
	all, runs := shapes(), 1
	if folder == "" {
		all = []shape{{300, 100_000}}
	} else {
		runs = countOf(t, RunsVariable, 2)
	}
	settings := map[string]string{
		"wal_level": "logical", "synchronous_commit": "off", "autovacuum": "off", "full_page_writes": "off", "checkpoint_timeout": "1h", "max_wal_size": "32GB", "shared_buffers": "256MB",
	}
	p := &pipeline{t: t, pg: harness.PostgresServer(t, 0, settings), ch: harness.ClickHouse(t), report: NewReport("growth", runs)}
	p.sidecar = newSidecar(t, p.pg, p.ch, folder != "")
	base := shape{1, 1}
	for _, s := range append(all, base) {
		p.createShape(s)
	}
	p.sidecar.setUp()
	var start grown
	if folder != "" {
		start = p.drainShape(base, 1) // what it takes to start and to stop, whatever comes between
	}
	b := Block{Workload: "inserts of rows of text, by backlog", Plain: true, Metrics: []string{valueMetric, allMetric, perKBMetric, serverMetric, readerMetric, storeMetric, walBytes, receivedBytes, sentBytes, diskBytes, peakMetric}}
	for range runs {
		for _, s := range all {
			rows := s.rows()
			if folder == "" {
				rows = 30
			}
			p.reportShape(b.Workload, s, start, p.drainShape(s, rows))
		}
	}
	for _, s := range all {
		b.Variants = append(b.Variants, s.String())
	}
	p.report.Summarise(b)
	text := fmt.Sprintf("%d CPUs, %s; PostgreSQL %s; medians of %d runs; per change, without what starting takes; bytes received from PostgreSQL, sent to ClickHouse, and kept there.\n\n%s",
		p.report.Machine.CPUs, p.report.Machine.CPU, p.pg.Value("SHOW server_version"), runs, p.report.Table(b))
	t.Logf("\n%s", text)
	if folder != "" {
		if err := p.report.Write(folder, text); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *pipeline) createShape(s shape) {
	p.t.Helper()
	var columns strings.Builder
	for i := range s.columns {
		fmt.Fprintf(&columns, ", c%d text", i+1)
	}
	p.pg.Exec("CREATE TABLE " + s.table() + " (id bigint PRIMARY KEY" + columns.String() + ")")
}

// grown is what the rows of a shape took.
type grown struct {
	drained
	rows, values, wal float64
	server            float64 // microseconds
	disk              float64
}

// drainShape writes rows of a shape behind a slot, and lets the sidecar drain it.
func (p *pipeline) drainShape(s shape, rows int) (g grown) {
	p.t.Helper()
	c := content{table: s.table(), changes: rows + 1}
	p.pg.Exec("TRUNCATE " + c.table)
	p.pg.Exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '" + benched + "'")
	p.pg.Exec("SELECT pg_create_logical_replication_slot('" + benched + "', 'pgoutput')")
	before := p.walEnd()
	g.values = p.fillShape(s, rows)
	g.wal = p.walEnd() - before
	c.end = p.pg.Value("SELECT pg_current_wal_flush_lsn()")
	p.pg.Exec("INSERT INTO " + c.table + " VALUES (-1)") // behind the end
	g.rows = float64(rows)
	g.drained = p.sidecar.drain(c, 1<<20)
	p.sidecar.released()
	g.server = micro(p.sidecar.serverTime() - g.before)
	if _, err := fmt.Sscan(p.ch.Value("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = ? AND table = 'audit_logs'", p.ch.Database), &g.disk); err != nil {
		p.t.Fatal(err)
	}
	return g
}

func (p *pipeline) walEnd() (n float64) {
	p.t.Helper()
	if _, err := fmt.Sscan(p.pg.Value("SELECT pg_current_wal_insert_lsn() - '0/0'"), &n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// fillShape copies rows into the table, and returns the bytes of their values.
func (p *pipeline) fillShape(s shape, rows int) (values float64) {
	p.t.Helper()
	conn := p.pg.Connect()
	defer conn.Close(context.Background())
	names := []string{"id"}
	for i := range s.columns {
		names = append(names, fmt.Sprintf("c%d", i+1))
	}
	random := rand.New(rand.NewPCG(uint64(s.columns), uint64(s.bytes)))
	for from := 0; from < rows; from += growthBatch {
		batch := make([][]any, min(growthBatch, rows-from))
		for i := range batch {
			row := make([]any, 1+s.columns)
			row[0] = int64(from + i)
			for c, left := 1, s.bytes; c <= s.columns && left > 0; c++ { // the columns behind them are NULL
				n := max(1, s.bytes/s.columns)
				row[c] = words(random, n)
				left -= n
				values += float64(n)
			}
			batch[i] = row
		}
		if _, err := conn.CopyFrom(p.t.Context(), pgx.Identifier{s.table()}, names, pgx.CopyFromRows(batch)); err != nil {
			p.t.Fatal(err)
		}
	}
	return values
}

// words is text of n bytes that compresses about as text of people does.
func words(random *rand.Rand, n int) string {
	const vocabulary = "order paid shipped returned customer street long note gift express today invoice parcel broken refund of the to a by window green ticket "
	starts := strings.Fields(vocabulary)
	text := make([]byte, 0, n+10)
	for len(text) < n {
		text = append(append(text, starts[random.IntN(len(starts))]...), byte('0'+random.IntN(10)), ' ')
	}
	return string(text[:n])
}

// reportShape reports what a change of a shape took beyond what starting takes.
func (p *pipeline) reportShape(title string, s shape, start, g grown) {
	add := func(metric string, v float64) { p.report.Add(title, s.String(), metric, max(0, v)/g.rows) }
	reader, store := micro(g.reader-start.reader), micro(g.store-start.store)
	server := g.server - start.server
	add(valueMetric, g.values)
	add(allMetric, reader+store+server)
	add(serverMetric, server)
	add(readerMetric, reader)
	add(storeMetric, store)
	add(walBytes, g.wal)
	add(receivedBytes, float64(g.received-start.received))
	add(sentBytes, float64(g.sent-start.sent))
	add(diskBytes, g.disk-start.disk)
	p.report.Add(title, s.String(), perKBMetric, max(0, reader+store+server)/(g.values/1000))
	p.report.Add(title, s.String(), peakMetric, float64(g.peak)/(1<<20))
}
