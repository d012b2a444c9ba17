package verify

import (
	"os"
	"strconv"
	"strings"
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
	blocks := blocksOf(entries, 2000)
	b.ReportAllocs()
	before := clientTime(b)
	for b.Loop() {
		w := &walker{segment: segment{to: 9_999}, genesis: &genesis}
		for _, block := range blocks {
			if err := w.take(block); err != nil {
				b.Fatal(err)
			}
		}
		w.finish()
		if w.rows != 10_000 || w.found.integrity.total+w.found.completeness.total != 0 {
			b.Fatalf("%+v", w.found)
		}
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64((clientTime(b)-before).Nanoseconds())/float64(b.N)/10_000, "cpu-ns/entry")
	b.ReportMetric(float64(bytes)/10_000, "preimage-B")
}

// The whole of verify --full against the real engine, PGWITNESS_BENCH_ENTRIES
// long (default 300,000).
func BenchmarkVerify(b *testing.B) {
	n := benchEntries(b)
	db := newDatabase(b)
	db.store(makeTrail(n))
	client, engine := clientTime(b), engineTime(b, db)
	for b.Loop() {
		if r := verifyTrail(b, db.source(), Options{}, 0); !r.Holds() || r.Checked != uint64(n) {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64((clientTime(b)-client).Nanoseconds())/float64(b.N*n), "client-cpu-ns/entry")
	b.ReportMetric(float64((engineTime(b, db)-engine).Nanoseconds())/float64(b.N*n), "engine-cpu-ns/entry")
}

// The same by the SQL files, which hash where the data is.
func BenchmarkSQL(b *testing.B) {
	n := benchEntries(b)
	db := newDatabase(b)
	db.store(makeTrail(n))
	for name, want := range map[string]string{"entry_hash.sql": cleanHashes(n), "links.sql": cleanLinks(n)} {
		b.Run(name, func(b *testing.B) {
			engine := engineTime(b, db)
			for b.Loop() {
				if got := db.sqlFile(name); got != want {
					b.Fatalf("%s says %s, want %s", name, got, want)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(float64((engineTime(b, db)-engine).Nanoseconds())/float64(b.N*n), "engine-cpu-ns/entry")
		})
	}
}

// benchEntries is the length of the trail: PGWITNESS_BENCH_ENTRIES, or 300,000.
func benchEntries(b *testing.B) int {
	s := os.Getenv("PGWITNESS_BENCH_ENTRIES")
	if s == "" {
		return 300_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// clientTime is the processor time that this process has used; the engine is
// another one.
func clientTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// engineTime is that of the engine: fields 14 and 15 of its stat, in hundredths
// of a second.
func engineTime(b *testing.B, db *database) time.Duration {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(db.ch.Server.PID()) + "/stat")
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		b.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
