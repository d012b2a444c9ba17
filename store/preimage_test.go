package store_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// oddEntries draws entries of which neighbours often have the same values, as
// those of a trail do, and of which some have values that no trail should have.
func oddEntries(t *rapid.T) []audit.Entry {
	text := rapid.OneOf(
		rapid.Just(audit.Text(nil)), rapid.Just(audit.Text{}), rapid.Just(audit.T("order")),
		rapid.Map(rapid.String(), audit.T),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 200), func(b []byte) audit.Text { return b }),
		rapid.Map(rapid.SampledFrom([]int{9, 10, 99, 100, 127, 128, 999, 1000, 16_383, 16_384, 70_000}), func(n int) audit.Text {
			return bytes.Repeat([]byte{'x', 0, 0xff, ','}, (n+3)/4)[:n]
		}),
	)
	number := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 8, 9, 10, 99, math.MaxUint32, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64}))
	entries := make([]audit.Entry, rapid.IntRange(1, 40).Draw(t, "entries"))
	for i := range entries {
		e := &entries[i]
		if i > 0 && rapid.IntRange(0, 3).Draw(t, "like the one before") > 0 {
			*e = entries[i-1]
		}
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0: // counts on
			e.Sequence, e.Ordinal = e.Sequence+1, e.Ordinal+1
		case 1:
			e.Stream = rapid.SampledFrom([]string{"", "shop", "a\x00b"}).Draw(t, "stream")
			e.Sequence, e.CommitLSN = number.Draw(t, "sequence"), audit.LSN(number.Draw(t, "lsn"))
			e.XID, e.Ordinal, e.Timestamp = uint32(number.Draw(t, "xid")), uint32(number.Draw(t, "ordinal")), int64(number.Draw(t, "timestamp"))
			copy(e.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
			copy(e.Salt[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "salt"))
		case 2:
			e.Changed = rapid.SliceOfN(rapid.SampledFrom([]string{"", "id", "größe", "status", "a,b", "\x00\xff"}), 0, 4).Draw(t, "changed")
		case 3:
			fill(e, func(string) audit.Text { return text.Draw(t, "text") })
		}
	}
	return entries
}

// What is made of columns is, byte for byte, what is made of entries.
func TestPreimagesOfColumns(t *testing.T) {
	columns := store.NewColumns() // one and the same, so that nothing of a block stays for the next
	rapid.Check(t, func(rt *rapid.T) {
		entries := oddEntries(rt)
		columns.Reset()
		for i := range entries {
			columns.Append(&entries[i])
		}
		comparePreimages(rt, columns, entries)
	})
}

func comparePreimages(t interface {
	Helper()
	Fatalf(string, ...any)
}, columns *store.Columns, entries []audit.Entry,
) {
	t.Helper()
	preimages := columns.Preimages()
	var got, want []byte
	for i := range entries {
		got, want = preimages.Append(got[:0], i), audit.AppendPreimage(want[:0], &entries[i])
		if !bytes.Equal(got, want) {
			t.Fatalf("entry %d of %d\ngot  %q\nwant %q", i, len(entries), got, want)
		}
		var s store.Stitch
		columns.Stitch(i, &s)
		e := &entries[i]
		if w := (store.Stitch{ID: e.ID, Stream: e.Stream, Sequence: e.Sequence, Timestamp: e.Timestamp, Position: e.Position(), PrevHash: e.PrevHash, Hash: e.Hash}); s != w {
			t.Fatalf("entry %d of %d: stitch %+v, want %+v", i, len(entries), s, w)
		}
	}
}

// Columns that a server sent have other inner forms than those that were filled
// here: keys of several widths, values that came in pieces.
func TestPreimagesOfReceivedColumns(t *testing.T) {
	tr := newTrail(t)
	var entries []audit.Entry
	for n := range 3000 {
		e := entry(uint64(n), func(field string) audit.Text {
			switch n % 5 {
			case 0:
				return nil
			case 1:
				return audit.Text{}
			case 2: // as many values as a dictionary has keys of two bytes
				return audit.T(field + string(rune('a'+n%1000)))
			}
			return bytes.Repeat([]byte{'"', 0, 0xc3, byte(n)}, n%40)
		})
		e.Changed = [][]string{nil, {"status"}, {"", "total"}}[n%3]
		if n%701 == 0 {
			e.NewValues = bytes.Repeat([]byte{'v', 0}, 1<<20)
		}
		entries = append(entries, e)
	}
	columns := store.NewColumns()
	for i := range entries {
		columns.Append(&entries[i])
	}
	tr.send(columns)
	for _, tail := range []string{"SETTINGS max_block_size = 100", "SETTINGS max_block_size = 65536, preferred_block_size_bytes = 0"} {
		at := 0
		err := store.Blocks(t.Context(), tr.dial(), store.Select("", "ORDER BY stream, sequence "+tail), func(block *store.Columns) error {
			comparePreimages(t, block, entries[at:at+block.Rows()])
			at += block.Rows()
			return nil
		})
		if err != nil || at != len(entries) {
			t.Errorf("%s: %d entries, error %v", tail, at, err)
		}
	}
}

// A mark says of every entry what would be said of the entry itself.
func TestMarks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		entries := oddEntries(rt)
		columns := store.NewColumns()
		for i := range entries {
			columns.Append(&entries[i])
		}
		has := rapid.SampledFrom([]func(audit.Text) bool{
			func(t audit.Text) bool { return t == nil },
			func(t audit.Text) bool { return t != nil && len(t) == 0 },
			func(t audit.Text) bool { return bytes.Contains(t, []byte("x")) },
		}).Draw(rt, "property")
		marks := map[string]store.Marks{
			"Action": columns.MarkAction(has), "Attribution": columns.MarkAttribution(has),
			"OldValues": columns.MarkOldValues(has), "NewValues": columns.MarkNewValues(has),
		}
		for field, m := range marks {
			for i := range entries {
				text := reflect.ValueOf(&entries[i]).Elem().FieldByName(field).Interface().(audit.Text)
				if m.At(i) != has(text) {
					rt.Fatalf("%s of entry %d, %q, is marked: %t", field, i, text, m.At(i))
				}
			}
		}
	})
}
