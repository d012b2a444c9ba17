package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"testing"
)

func TestLSNReadsBackAsWritten(t *testing.T) {
	for _, l := range []LSN{0, 1, 0x16B374D848, 1<<64 - 1} {
		got, err := ParseLSN(l.String())
		if err != nil || got != l {
			t.Errorf("%s read back as %s, %v", l, got, err)
		}
	}
	for _, s := range []string{"", "16", "/", "0/x", "100000000/0"} {
		if _, err := ParseLSN(s); err == nil {
			t.Errorf("%q was taken for a position", s)
		}
	}
}

func TestPositionsAreOrderedByCommitThenOrdinal(t *testing.T) {
	ordered := []Position{{1, 5}, {2, 0}, {2, 1}, {3, 0}}
	for i, p := range ordered {
		for j, q := range ordered {
			if p.After(q) != (i > j) {
				t.Errorf("%s after %s: %v", p, q, p.After(q))
			}
		}
	}
}

// NULL and the empty string hash differently, and no value can pretend to be
// two.
func TestNetstringsCannotBeConfused(t *testing.T) {
	var all [][]byte
	for _, texts := range [][]Text{{nil, nil}, {nil, {}}, {{}, nil}, {T("a"), T("b")}, {T("ab"), {}}, {T("a1:b,"), nil}, {T("n,"), {}}} {
		all = append(all, appendTexts(nil, texts...))
	}
	for i := range all {
		for j := range all[:i] {
			if bytes.Equal(all[i], all[j]) {
				t.Errorf("cases %d and %d have the same bytes %q", i, j, all[i])
			}
		}
	}
}

func TestNumbersAreDecimal(t *testing.T) {
	for n, want := range map[int64]string{0: "1:0,", 9: "1:9,", 10: "2:10,", -1: "2:-1,", 1<<63 - 1: "19:9223372036854775807,", -1 << 63: "20:-9223372036854775808,"} {
		if got := string(appendInt(nil, n)); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

// An id is a UUIDv7 of the commit time and says nothing else by chance: the
// same change has the same one, another change another.
func TestEntryID(t *testing.T) {
	p := Position{0x16B374D848, 3}
	id := EntryID("shop", 1_700_000_000_123_456, p)
	if got := id.String()[:15]; got != "018bcfe5-687b-7" {
		t.Errorf("time and version are %s", got)
	}
	if v := id[8] >> 6; v != 2 {
		t.Errorf("variant bits are %b", v)
	}
	if id != EntryID("shop", 1_700_000_000_123_456, p) {
		t.Error("the same change has two ids")
	}
	if id == EntryID("shop", 1_700_000_000_123_456, Position{p.CommitLSN, 4}) || id == EntryID("other", 1_700_000_000_123_456, p) {
		t.Error("two changes have one id")
	}
	if back, ok := ParseUUID(id.String()); !ok || back != id {
		t.Errorf("%s reads back as %s", id, back)
	}
}

// Ids that are made one behind the other are those of the formula, wherever
// stream, transaction and number of digits change.
func TestEntryIDsOneBehindTheOther(t *testing.T) {
	var ids EntryIDs
	for _, stream := range []string{"shop", "s", "a stream with a longer name", "shop"} {
		for _, lsn := range []LSN{0, 9, 10, 0x16B374D848, 1<<64 - 1} {
			for _, ordinal := range []uint32{0, 1, 9, 10, 99, 1<<32 - 1, 3} {
				number := func(n uint64) string { s := strconv.FormatUint(n, 10); return fmt.Sprintf("%d:%s,", len(s), s) }
				sum := sha256.Sum256([]byte(fmt.Sprintf("%d:%s,%d:%s,", len(IDTag), IDTag, len(stream), stream) + number(uint64(lsn)) + number(uint64(ordinal))))
				id := ids.ID(stream, 0, Position{lsn, ordinal})
				if id[7] != sum[1] || !bytes.Equal(id[9:], sum[3:10]) || id[6]&0x0f != sum[0]&0x0f || id[8]&0x3f != sum[2]&0x3f {
					t.Errorf("%s %d %d: %s is not of %x", stream, lsn, ordinal, id, sum[:10])
				}
			}
		}
	}
}

// The preimage is as long as its netstrings say, whatever the values hold.
func FuzzPreimage(f *testing.F) {
	f.Add("shop", []byte("a"), "id", int64(-1))
	f.Fuzz(func(t *testing.T, stream string, value []byte, name string, timestamp int64) {
		e := Entry{Stream: stream, NewValues: value, Changed: []string{name, ""}, Timestamp: timestamp}
		b := AppendPreimage(nil, &e)
		fields := 0
		for len(b) > 0 {
			b = skip(t, b)
			fields++
		}
		if fields != 37 {
			t.Errorf("%d fields, want 37", fields)
		}
	})
}

// skip cuts one netstring or NULL off b.
func skip(t *testing.T, b []byte) []byte {
	t.Helper()
	if rest, ok := bytes.CutPrefix(b, []byte("n,")); ok {
		return rest
	}
	n, i := 0, 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int(b[i]-'0')
	}
	if i == 0 || i+1+n >= len(b) || b[i] != ':' || b[i+1+n] != ',' {
		t.Fatalf("not a netstring: %q", b[:min(len(b), 40)])
	}
	return b[i+2+n:]
}
