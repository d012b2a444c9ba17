package verify

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// The hash loop alone: what one processor does to entries that lie in memory.
func BenchmarkWalk(b *testing.B) {
	entries := makeTrail(10_000)
	bytes := 0
	for i := range entries {
		bytes += len(audit.AppendPreimage(nil, &entries[i]))
	}
	g := testGenesis()
	genesis := genesisHash(&g)
	b.ReportAllocs()
	for b.Loop() {
		w := &walker{segment: segment{to: 9_999}, genesis: &genesis}
		for i := range entries {
			if err := w.take(&entries[i]); err != nil {
				b.Fatal(err)
			}
		}
		w.finish()
		if w.rows != 10_000 || w.found.integrity.total+w.found.completeness.total != 0 {
			b.Fatalf("%+v", w.found)
		}
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(bytes)/10_000, "preimage-B")
}

// The whole of verify --full against the real engine, PGWITNESS_BENCH_ENTRIES
// long (default 300,000).
func BenchmarkVerify(b *testing.B) {
	n := 300_000
	if s := os.Getenv("PGWITNESS_BENCH_ENTRIES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	db := newDatabase(b)
	db.store(makeTrail(n))
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		if r := verifyTrail(b, db.source(), Options{}, 0); !r.Holds() || r.Checked != uint64(n) {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N*n), "client-cpu-ns/entry")
}

// processorTime is what this process has used; the engine is another one.
func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
