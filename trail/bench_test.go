package trail

import (
	"strconv"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// BenchmarkFoldAdd is one update of a row of ten columns, as pgbench makes it.
func BenchmarkFoldAdd(b *testing.B) {
	f := NewFold("public", "orders", []string{"id"})
	const rows = 1000
	for i := range rows {
		n := strconv.Itoa(i)
		e := at("insert", "create", "", `{"id":`+n+`,"a":"x","b":"y","c":"z","d":1,"e":2,"f":null,"g":true,"h":"2026-01-02","abalance":0}`)
		e.Sequence = uint64(i)
		if err := f.Add(&e); err != nil {
			b.Fatal(err)
		}
	}
	var entries []audit.Entry
	for i := range 2 * rows {
		n, v := strconv.Itoa(i%rows), strconv.Itoa(i/rows)
		w := strconv.Itoa(1 - i/rows)
		entries = append(entries, at("update", "update", `{"id":`+n+`,"abalance":`+v+`}`, `{"id":`+n+`,"abalance":`+w+`}`, "abalance"))
	}
	b.ReportAllocs()
	for i := range b.N {
		e := &entries[i%len(entries)]
		e.Sequence = uint64(rows + i)
		if err := f.Add(e); err != nil {
			b.Fatal(err)
		}
	}
	if f.Breaks().Count > 0 {
		b.Fatal(f.Breaks().First[0])
	}
}

// BenchmarkSentence is one refund.
func BenchmarkSentence(b *testing.B) {
	e := reason(alice(at("update", "refund", `{"id":1234,"status":"paid"}`, `{"id":1234,"status":"refunded"}`, "status")), "fraud", "a note")
	b.ReportAllocs()
	for b.Loop() {
		Sentence(&e, Style{})
	}
}

// BenchmarkEntries reads from the real engine, folds, and reports the rate.
func BenchmarkEntries(b *testing.B) {
	book := newBook(b)
	const n = 200_000
	for i := range n {
		e := alice(at("update", "update", `{"id":1234,"abalance":1}`, `{"id":1234,"abalance":1}`))
		e.Stream, e.Sequence, e.Timestamp = "shop", uint64(i), began
		book.columns.Append(&e)
	}
	book.send()
	for b.Loop() {
		f, err := book.Fold(b.Context(), "shop", "public", "orders", []string{"id"}, nil)
		if err != nil || f.Len() != 1 {
			b.Fatal(f.Len(), err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
