package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

const (
	verifyRate  = "entries/s"
	verifyAll   = "both CPU us"
	verifyOwn   = "verify CPU us"
	verifyStore = "ClickHouse CPU us"
	verifyPeak  = "peak MiB"
)

// verifyGoal is what a machine of two processors should verify, per second, and
// so what an entry may take of them.
const verifyGoal = 1_000_000

// verification measures `pgwitness verify`.
type verification struct {
	t       *testing.T
	ch      *harness.CH
	sidecar *sidecar
	report  *Report
}

// TestVerify measures `pgwitness verify` over whole trails, from its start to its
// end: `make bench-verify` runs it at full length. In small it holds that a
// trail that was made by chain and sink alone is one.
func TestVerify(t *testing.T) {
	folder, runs, entries := os.Getenv(Variable), 1, 2000
	if folder != "" {
		runs, entries = countOf(t, RunsVariable, 3), countOf(t, RowsVariable, 2_000_000)
	}
	v := &verification{t: t, ch: harness.ClickHouse(t), report: NewReport("verify", runs)}
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE audited (id int PRIMARY KEY)") // setup wants one
	v.sidecar = newSidecar(t, pg, v.ch, folder != "")
	var text strings.Builder
	fmt.Fprintf(&text, "%d CPUs, %s; medians of %d runs, start and end of the program included; processor time per entry.\n",
		v.report.Machine.CPUs, v.report.Machine.CPU, runs)
	for _, w := range []struct {
		name string
		fill func(n uint64, e *audit.Entry)
	}{
		{"a trail of wide rows, 1000 inserts in a transaction", wideInsert},
		{"a trail of a shop, 3 updates in a transaction, all columns about the actor filled", shopUpdate},
	} {
		b := v.measure(w.name, []int{entries / 8, entries}, runs, w.fill)
		v.report.Summarise(b)
		fmt.Fprintf(&text, "\n%s%s", v.report.Table(b), v.verdict(b))
	}
	t.Logf("\n%s", text.String())
	if folder != "" {
		if err := v.report.Write(folder, text.String()); err != nil {
			t.Fatal(err)
		}
	}
}

// measure verifies trails of several sizes.
func (v *verification) measure(name string, sizes []int, runs int, fill func(n uint64, e *audit.Entry)) Block {
	v.t.Helper()
	b := Block{Workload: name, Metrics: []string{verifyRate, verifyAll, verifyOwn, verifyStore, verifyPeak}}
	for _, n := range sizes {
		v.sidecar.setUp()
		storeTrail(v.t, v.ch, "bench", n, fill)
		size := fmt.Sprintf("%d entries", n)
		b.Variants = append(b.Variants, size)
		for range runs {
			v.verify(name, size, n)
		}
	}
	return b
}

// verify runs the verb once, which must find nothing.
func (v *verification) verify(workload, size string, n int) {
	v.t.Helper()
	var said, warned bytes.Buffer
	cmd := exec.Command(v.sidecar.binary, "--config", v.sidecar.configure(-1), "verify", "--full", "--json")
	cmd.Stdout, cmd.Stderr = &said, &warned
	before, began := storeTime(v.sidecar.t, v.sidecar.ch), time.Now()
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	peak := make(chan int64)
	go func() { peak <- peakUntilEnd(cmd.Process.Pid) }()
	err := cmd.Wait()
	took, store, most := time.Since(began), storeTime(v.sidecar.t, v.sidecar.ch)-before, <-peak
	var reports []struct{ Checked int }
	if err != nil || json.Unmarshal(said.Bytes(), &reports) != nil || len(reports) != 1 || reports[0].Checked != n {
		v.t.Fatalf("pgwitness verify: %v\n%s%s", err, said.String(), warned.String())
	}
	own := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	add := func(metric string, value float64) { v.report.Add(workload, size, metric, value) }
	add(verifyRate, float64(n)/took.Seconds())
	add(verifyAll, micro(own+store)/float64(n))
	add(verifyOwn, micro(own)/float64(n))
	add(verifyStore, micro(store)/float64(n))
	add(verifyPeak, float64(most)/(1<<20))
}

// verdict says what the goals were.
func (v *verification) verdict(b Block) string {
	small, whole := b.Variants[0], b.Variants[len(b.Variants)-1]
	of := func(size, metric string) float64 { return v.report.Median(b.Workload, size, metric) }
	return fmt.Sprintf("goals: %d entries/s (%.0f; %.0f by processor time), memory flat (%.2fx with %s and %s)\n",
		verifyGoal, of(whole, verifyRate), float64(v.report.Machine.CPUs)*1e6/of(whole, verifyAll),
		of(whole, verifyPeak)/of(small, verifyPeak), small, whole)
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
