// Package bench measures what pgwitness costs and how fast it is, on servers
// that it starts by itself: `make bench-overhead` and its like run the tests of
// this package at full length, and `go test` runs them in small, to hold the
// goals that are counted in bytes and not in seconds.
//
// A benchmark runs its variants in turn, over and over, so that whatever else
// the machine does meets them all alike; what is reported is the median of the
// runs, their spread, and the ratio to a base of the same run. The package never
// ships, and never compares with a figure of another machine.
package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// Variable is the environment variable that asks for full length: it names the
// folder that the reports are written to.
const Variable = "PGWITNESS_BENCH"

// Environment variables that change the full length: the number of runs, and of
// the rows, changes or entries that a benchmark works on.
const (
	RunsVariable = "PGWITNESS_BENCH_RUNS"
	RowsVariable = "PGWITNESS_BENCH_ROWS"
)

// AgainstVariable names another build of the program, to be measured in the same
// run.
const AgainstVariable = "PGWITNESS_BENCH_AGAINST"

// PeerVariable names another program that drains a slot, to be measured in the
// same run. Its arguments are the DSN, slot, publication, and the number of
// changes, behind which it ends.
const PeerVariable = "PGWITNESS_BENCH_PEER"

// ProfileVariable names the folder that profiles of the sidecar are written to.
const ProfileVariable = "PGWITNESS_PROFILE"

// Report is what a benchmark has found.
type Report struct {
	Name    string   `json:"name"`
	Machine Machine  `json:"machine"`
	Runs    int      `json:"runs"`
	Results []Result `json:"results"`

	samples map[sampleKey][]float64
}

// Machine is where it was measured.
type Machine struct {
	CPUs int    `json:"cpus"`
	CPU  string `json:"cpu"`
	OS   string `json:"os"`
}

// Result is one metric of one variant of one workload.
type Result struct {
	Workload string  `json:"workload"`
	Variant  string  `json:"variant"`
	Metric   string  `json:"metric"` // with its unit
	Median   float64 `json:"median"`
	Low      float64 `json:"low"` // of the runs
	High     float64 `json:"high"`
	Ratio    float64 `json:"ratio"` // to the first variant of the workload; 0: that one is 0
}

type sampleKey struct{ workload, variant, metric string }

// NewReport returns an empty report about this machine.
func NewReport(name string, runs int) *Report {
	return &Report{
		Name: name, Runs: runs, samples: make(map[sampleKey][]float64),
		Machine: Machine{CPUs: runtime.NumCPU(), CPU: processor(), OS: runtime.GOOS + "/" + runtime.GOARCH},
	}
}

// processor is the name that Linux gives the processor, "" elsewhere.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Interleave calls measure for every variant in each run, each run beginning
// with another one.
func Interleave[V any](runs int, variants []V, measure func(V)) {
	for run := range runs {
		for i := range variants {
			measure(variants[(run+i)%len(variants)])
		}
	}
}

// Add adds a sample.
func (r *Report) Add(workload, variant, metric string, value float64) {
	k := sampleKey{workload, variant, metric}
	r.samples[k] = append(r.samples[k], value)
}

// Median is that of the samples so far; 0 without any.
func (r *Report) Median(workload, variant, metric string) float64 {
	sorted := slices.Sorted(slices.Values(r.samples[sampleKey{workload, variant, metric}]))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Block is one table of a report: a workload, its variants in order, the base
// first, and its metrics.
type Block struct {
	Workload string
	Variants []string
	Metrics  []string
	Plain    bool // without ratios: the variants are not rivals
}

// Summarise works out the results of a block.
func (r *Report) Summarise(b Block) {
	for _, v := range b.Variants {
		for _, m := range b.Metrics {
			samples := r.samples[sampleKey{b.Workload, v, m}]
			if len(samples) == 0 {
				continue
			}
			result := Result{Workload: b.Workload, Variant: v, Metric: m, Median: r.Median(b.Workload, v, m), Low: slices.Min(samples), High: slices.Max(samples)}
			if base := r.Median(b.Workload, b.Variants[0], m); base != 0 {
				result.Ratio = result.Median / base
			}
			r.Results = append(r.Results, result)
		}
	}
}

// Table renders a block: the median of each metric, and its ratio to the base
// unless the block is plain.
func (r *Report) Table(b Block) string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(&out, "%s\n", b.Workload)
	for _, m := range b.Metrics {
		fmt.Fprintf(w, "%s\t\t", m)
	}
	fmt.Fprintf(w, "\t\n")
	for _, v := range b.Variants {
		line, any := "", false
		for _, m := range b.Metrics {
			samples := r.samples[sampleKey{b.Workload, v, m}]
			if len(samples) == 0 {
				line += "-\t\t"
				continue
			}
			any = true
			median, ratio := r.Median(b.Workload, v, m), ""
			if base := r.Median(b.Workload, b.Variants[0], m); base != 0 && !b.Plain {
				ratio = fmt.Sprintf("%.2fx", median/base)
			}
			line += fmt.Sprintf("%s\t%s\t", number(median), ratio)
		}
		if any {
			fmt.Fprintf(w, "%s  %s\t\n", line, v)
		}
	}
	w.Flush()
	return out.String()
}

// number has a decimal where it matters.
func number(v float64) string {
	if v < 100 && v != float64(int64(v)) {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Write writes text and JSON of the report into folder, as <name>.txt and
// <name>.json.
func (r *Report) Write(folder, text string) error {
	all, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for name, content := range map[string][]byte{".txt": []byte(text), ".json": append(all, '\n')} {
		if err := os.WriteFile(filepath.Join(folder, r.Name+name), content, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}
