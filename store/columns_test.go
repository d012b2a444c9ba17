package store_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// fill sets every Text of e to what value makes of the field's name.
func fill(e *audit.Entry, value func(field string) audit.Text) {
	v := reflect.ValueOf(e).Elem()
	for i := range v.NumField() {
		if v.Field(i).Type() == reflect.TypeFor[audit.Text]() {
			v.Field(i).Set(reflect.ValueOf(value(v.Type().Field(i).Name)))
		}
	}
}

// entry n of stream shop, with bytes in its hashes that no text survives.
func entry(n uint64, value func(field string) audit.Text) audit.Entry {
	e := audit.Entry{Stream: "shop", Sequence: n, Timestamp: 1_700_000_000_123_456 + int64(n)}
	e.ID = audit.UUID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, byte(n)}
	e.XID, e.CommitLSN, e.Ordinal = 4_000_000_000, 1<<63+audit.LSN(n), 3_000_000_000
	// Trailing zero bytes are what a careless conversion to text drops.
	e.Salt = audit.Salt{0, 0xff, 0x80, '\'', '\\', 0}
	e.PrevHash = audit.Hash{0: 0xfe, 5: 1}
	e.Hash = audit.Hash{0: 0, 1: 0xc3}
	fill(&e, value)
	return e
}

func TestEntrySurvivesClickHouse(t *testing.T) {
	null := func(string) audit.Text { return nil }
	empty := func(string) audit.Text { return audit.Text{} }
	named := func(field string) audit.Text { return audit.T(field) }
	odd := func(field string) audit.Text {
		return audit.T("äöü ☃ 𝄞 '\"\\\t\n\r\x00\x7f; -- */ " + field)
	}
	big := entry(5, null)
	big.OldValues = bytes.Repeat([]byte("0123456789abcdef"), 5<<16) // 5 MiB
	big.NewValues = append(bytes.Clone(big.OldValues), 0)
	binary := entry(6, func(string) audit.Text { return audit.Text{0, 0xff, 0xfe, 0} })
	want := []audit.Entry{entry(0, null), entry(1, empty), entry(2, named), entry(3, odd), entry(4, null), big, binary}
	want[1].Changed = []string{"", "a"}
	want[2].Changed = []string{"note", "status"}
	want[3].Changed = []string{"größe", strings.Repeat("x", 300), "日本"}
	want[4].Timestamp = -1_000_001 // before 1970

	tr := newTrail(t)
	for i := range want {
		tr.insert(want[i])
	}
	got := tr.read(store.Select("stream = 'shop'", "ORDER BY stream, sequence"))
	if diff := cmp.Diff(want, got, asText, cmp.Comparer(sameNames)); diff != "" {
		t.Errorf("entries came back changed (-want +got):\n%.4000s", diff)
	}
	// The SQL of auditors sees the two halves of the seal under their names.
	halves := tr.Value("SELECT concat(hex(prev_hash), hex(entry_hash)) FROM " + tr.Database + ".audit_logs WHERE sequence = 2")
	if want := fmt.Sprintf("%X%X", want[2].PrevHash[:], want[2].Hash[:]); halves != want {
		t.Errorf("prev_hash and entry_hash are %s, want %s", halves, want)
	}
}

// asText compares quickly and tells NULL from ”.
var asText = cmp.Comparer(func(a, b audit.Text) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) })

func sameNames(a, b []string) bool { return fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b) }

// The keys of a dictionary travel in the narrowest type that fits.
func TestDictionariesOfAnySize(t *testing.T) {
	tr := newTrail(t)
	sequence := uint64(0)
	for _, distinct := range []int{1, 255, 256, 65_535, 65_536} {
		columns := store.NewColumns()
		from := sequence
		for i := range distinct {
			e := audit.Entry{Stream: "shop", Sequence: sequence}
			e.ActorID = audit.T(fmt.Sprintf("actor %d", i))
			e.Changed = []string{fmt.Sprintf("column %d", i), "id"}
			columns.Append(&e)
			sequence++
		}
		tr.send(columns)
		got := tr.read(store.Select(fmt.Sprintf("sequence >= %d", from), "ORDER BY stream, sequence"))
		if len(got) != distinct {
			t.Fatalf("%d entries came back, want %d", len(got), distinct)
		}
		for i, e := range got {
			if want := fmt.Sprintf("actor %d", i); e.ActorID.String() != want || e.Changed[0] != fmt.Sprintf("column %d", i) || e.Changed[1] != "id" {
				t.Fatalf("with %d values, entry %d has actor %s and changed %q", distinct, i, e.ActorID, e.Changed)
			}
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	columns := store.NewColumns()
	entries := make([]audit.Entry, 100)
	for i := range entries {
		entries[i] = entry(uint64(i), func(field string) audit.Text { return audit.T(fmt.Sprint(field, i%7)) })
		entries[i].Changed = []string{"note", "status"}
	}
	round := func() {
		columns.Reset()
		for range 10 {
			for i := range entries {
				columns.Append(&entries[i])
			}
		}
	}
	round()
	// A thousand entries, of which seven bring values that are new to a dictionary.
	if n := testing.AllocsPerRun(10, round); n > 200 {
		t.Errorf("%v allocations for 1000 entries, want only those of new dictionary values", n)
	}
}

func TestResetEmptiesTheBlock(t *testing.T) {
	columns := store.NewColumns()
	first := entry(0, func(field string) audit.Text { return audit.T("old " + field) })
	columns.Append(&first)
	columns.Reset()
	if columns.Rows() != 0 || columns.Bytes() != 0 {
		t.Errorf("a reset block has %d rows and %d bytes", columns.Rows(), columns.Bytes())
	}
	tr := newTrail(t)
	second := entry(1, func(field string) audit.Text { return audit.T("new " + field) })
	columns.Append(&second)
	tr.send(columns)
	if diff := cmp.Diff([]audit.Entry{second}, tr.read(store.Select("", "")), asText, cmp.Comparer(sameNames)); diff != "" {
		t.Errorf("second use of a block (-want +got):\n%s", diff)
	}
}
