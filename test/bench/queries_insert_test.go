package bench

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
)

const (
	probeRows  = 40_000 // of a batch, the most that the sidecar sends at once
	probeTurns = 6      // batches of each table in one run
	smallProbe = 1000   // of a batch when the archive is small

	young, aged = "with 1 million entries", "with all entries"

	withProjections, withoutProjections = "with projections", "without projections"
	insertRate, insertCPU               = "entries/s", "ClickHouse CPU us"
)

// probe inserts batches by the sink of the product into the table of an archive,
// as the stream probe, and into the same table without projections.
type probe struct {
	a       *archive
	tables  []*probed
	entries []audit.Entry
	phases  []string
}

// probed is one of the tables.
type probed struct {
	name   string
	sink   *sink.Sink
	head   audit.Head
	sealer *chain.Sealer
}

func newProbe(a *archive) *probe {
	a.t.Helper()
	bare := a.ch.Database + "_bare"
	a.ch.Exec("CREATE DATABASE " + bare)
	a.migrate(bare)
	for _, name := range projections() {
		a.ch.Exec("ALTER TABLE " + bare + ".audit_logs DROP PROJECTION " + name)
	}
	p := &probe{a: a}
	for _, table := range []struct{ name, database string }{{withoutProjections, bare}, {withProjections, a.ch.Database}} {
		s := sink.New(a.server("sink", table.database), sink.DefaultConfig(), "probe", zerolog.Nop())
		a.t.Cleanup(func() {
			if err := s.Close(); err != nil {
				a.t.Error(err)
			}
		})
		if err := s.CreateGenesis(a.t.Context(), store.Genesis{Stream: "probe"}, ""); err != nil {
			a.t.Fatal(err)
		}
		head, err := s.Recover(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		p.tables = append(p.tables, &probed{table.name, s, head, chain.New([32]byte{1}, 1)})
	}
	return p
}

// measure inserts batches into both tables in turn. What is measured is the
// sink's insert alone; a merge that the server has begun meanwhile takes its part.
func (p *probe) measure(phase string, runs int) {
	p.a.t.Helper()
	p.phases = append(p.phases, phase)
	p.read()
	title := "inserting, " + phase
	turns := min(runs, 3) * probeTurns
	if p.a.small() {
		turns = 2
	}
	Interleave(turns, p.tables, func(table *probed) {
		batch := p.batch(table)
		cpu, began := storeTime(p.a.t, p.a.ch), time.Now()
		head, err := table.sink.Insert(p.a.t.Context(), table.head, batch)
		if err != nil {
			p.a.t.Fatal(err)
		}
		table.head = head
		rows := float64(len(p.entries))
		p.a.report.Add(title, table.name, insertRate, rows/time.Since(began).Seconds())
		p.a.report.Add(title, table.name, insertCPU, micro(storeTime(p.a.t, p.a.ch)-cpu)/rows)
	})
	p.a.rest()
}

// read takes the entries of the batches from the archive.
func (p *probe) read() {
	p.a.t.Helper()
	if p.entries != nil {
		return
	}
	rows := probeRows
	if p.a.small() {
		rows = smallProbe
	}
	client, err := p.a.reader.Dial(p.a.t.Context())
	if err != nil {
		p.a.t.Fatal(err)
	}
	defer client.Close()
	for e, err := range store.Entries(p.a.t.Context(), client, store.Select("stream = 'shop'", fmt.Sprintf("ORDER BY sequence LIMIT %d SETTINGS optimize_use_projections = 0", rows))) {
		if err != nil {
			p.a.t.Fatal(err)
		}
		p.entries = append(p.entries, store.Clone(e))
	}
}

// batch makes the entries the next ones of a chain, and lays them out.
func (p *probe) batch(table *probed) *sink.Batch {
	p.a.t.Helper()
	for i := range p.entries {
		e := &p.entries[i]
		e.Stream = "probe"
		e.CommitLSN = audit.LSN(table.head.Size) + audit.LSN(i) + 1
		e.Ordinal = 0
	}
	table.sealer.Seal(table.head, p.entries)
	b, err := table.sink.Prepare(p.entries)
	if err != nil {
		p.a.t.Fatal(err)
	}
	return b
}

// summary is the tables, with the shares that are goals.
func (p *probe) summary() string {
	var text string
	var shares []float64
	for _, phase := range p.phases {
		title := "inserting, " + phase
		b := Block{Workload: title, Variants: []string{withoutProjections, withProjections}, Metrics: []string{insertRate, insertCPU}}
		p.a.report.Summarise(b)
		shares = append(shares, p.a.report.Median(title, withProjections, insertRate)/p.a.report.Median(title, withoutProjections, insertRate))
		text += "\n" + p.a.report.Table(b) + fmt.Sprintf("goal: %.2fx of that without projections %s\n", insertShare, verdictOf(shares[len(shares)-1] >= insertShare))
	}
	// The table without projections is small both times: it tells how much the
	// machine has changed meanwhile.
	stays := shares[len(shares)-1] / shares[0]
	return text + fmt.Sprintf("\nthroughput with all entries to that with a million: %.2fx, goal %.2fx %s\n", stays, agedShare, verdictOf(stays >= agedShare))
}
