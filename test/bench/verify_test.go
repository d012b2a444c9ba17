package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	verifyRate  = "entries/s"
	verifyOwn   = "verify CPU us"
	verifyStore = "ClickHouse CPU us"
	verifyPeak  = "peak MiB"
)

// BenchmarkVerify measures `pgwitness verify` over a whole trail, of a quarter of
// the length and of all of it: `make bench-verify`.
func BenchmarkVerify(t *testing.B) {
	folder, runs, entries := os.Getenv(Variable), 1, 2000
	if folder != "" {
		runs, entries = countOf(t, RunsVariable, 3), countOf(t, RowsVariable, 1_000_000)
	}
	p := newPipeline(t, folder != "", runs)
	p.report = NewReport("verify", runs)
	title := fmt.Sprintf("a trail of wide rows, 1000 in a transaction, PostgreSQL %s", p.pg.Value("SHOW server_version"))
	b := Block{Workload: title, Metrics: []string{verifyRate, verifyOwn, verifyStore, verifyPeak}}
	for _, n := range []int{entries / 4, entries} {
		c := content{table: "wide", rows: 1000, changes: n}
		p.fill(&c)
		p.pg.Exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '" + benched + "'")
		p.pg.Exec("SELECT pg_copy_logical_replication_slot('" + kept + "', '" + benched + "')")
		p.sidecar.drain(c, 1<<20)
		name := fmt.Sprintf("%d entries", n)
		b.Variants = append(b.Variants, name)
		for range runs {
			p.verify(title, name, n)
		}
		p.pg.Exec("SELECT pg_drop_replication_slot('" + kept + "')")
	}
	p.report.Summarise(b)
	text := fmt.Sprintf("%d CPUs, %s; medians of %d runs; processor time per entry; goal: 1 M entries/s.\n\n%s", p.report.Machine.CPUs, p.report.Machine.CPU, runs, p.report.Table(b))
	t.Logf("\n%s", text)
	if folder != "" {
		if err := p.report.Write(folder, text); err != nil {
			t.Fatal(err)
		}
	}
}

// verify runs the verb once, which must find nothing.
func (p *pipeline) verify(title, name string, n int) {
	p.t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(p.sidecar.binary, "--config", p.sidecar.configure(-1), "verify")
	cmd.Stdout, cmd.Stderr = &said, &said
	before, began := p.sidecar.storeTime(), time.Now()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	peak := make(chan int64)
	go func() { peak <- peakUntilEnd(cmd.Process.Pid) }()
	err := cmd.Wait()
	took := time.Since(began)
	if most := <-peak; err != nil || !strings.Contains(said.String(), "integrity") {
		p.t.Fatalf("pgwitness verify: %v\n%s", err, said.String())
	} else {
		p.report.Add(title, name, verifyPeak, float64(most)/(1<<20))
	}
	entries := float64(n)
	p.report.Add(title, name, verifyRate, entries/took.Seconds())
	p.report.Add(title, name, verifyOwn, micro(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())/entries)
	p.report.Add(title, name, verifyStore, micro(p.sidecar.storeTime()-before)/entries)
}

// peakUntilEnd asks a process for its peak again and again until it is gone.
func peakUntilEnd(pid int) (most int64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := PeakMemory(pid)
		if err != nil {
			return most
		}
		most = now
		<-tick.C
	}
}
