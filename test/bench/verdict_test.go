package bench

import (
	"fmt"
	"strings"
)

// The goals of the sidecar itself, of wide rows: processor time and allocations a
// change, and memory.
const (
	cpuGoal   = 5.0 // us
	allocGoal = 2.0
	peakGoal  = 128.0 // MiB
)

// The goals of the whole pipeline against pg_recvlogical, where there is one.
func (c content) goals() (backlog, live float64) {
	switch c.String() {
	case "wide rows, 1000 in a transaction":
		return 1.2, 0.8
	case "narrow rows, 1 in a transaction":
		return 2.0, 0.9
	}
	return 0, 0
}

// verdict says what the goals were and, of a lane, who held the processors.
func (p *pipeline) verdict(c content) string {
	var text strings.Builder
	backlog, live := c.goals()
	base := p.report.Median(c.String(), recvlogical, rateMetric)
	for _, lane := range []struct {
		name, word string
		goal       float64
	}{{backlogLane, "backlog", backlog}, {liveLane, "streaming", live}} {
		median := func(metric string) float64 { return p.report.Median(c.String(), lane.name, metric) }
		if lane.goal > 0 && base > 0 {
			fmt.Fprintf(&text, "%s: goal %.1fx, %s; ", lane.word, lane.goal, met(median(rateMetric)/base, "x", median(rateMetric)/base >= lane.goal))
		} else {
			fmt.Fprintf(&text, "%s: ", lane.word)
		}
		all := median(allMetric) / 100
		fmt.Fprintf(&text, "of the processor time PostgreSQL has %.0f %%, the sidecar %.0f %%, ClickHouse %.0f %%\n",
			median(serverMetric)/all, median(readerMetric)/all, median(storeMetric)/all)
		if c.table != "wide" || c.rows == 1 {
			continue
		}
		fmt.Fprintf(&text, "%s: the sidecar: goal %.0f us a change, %s; %.0f allocations, %s; %.0f MiB, %s\n", lane.word,
			cpuGoal, met(median(readerMetric), " us", median(readerMetric) <= cpuGoal),
			allocGoal, met(median(allocMetric), "", median(allocMetric) <= allocGoal),
			peakGoal, met(median(peakMetric), " MiB", median(peakMetric) <= peakGoal))
	}
	return text.String()
}

// met says what was reached, and whether that is enough.
func met(got float64, unit string, enough bool) string {
	word := "missed"
	if enough {
		word = "met"
	}
	return fmt.Sprintf("%s with %.2f%s", word, got, unit)
}
