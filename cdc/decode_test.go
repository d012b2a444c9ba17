package cdc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

func decodeAll(t *testing.T, d *decoder, frames ...[]byte) []audit.Change {
	t.Helper()
	var changes []audit.Change
	for _, f := range frames {
		m, err := d.decode(context.Background(), 0x10, f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune("IUDM", rune(f[0])) {
			changes = append(changes, m.change)
		}
	}
	return changes
}

func lit(s string) audit.Value { return audit.Value{Kind: audit.Literal, Data: []byte(s)} }

func TestDecodeRows(t *testing.T) {
	d := newDecoder(fixedKeys{"public.orders": {"id"}})
	got := decodeAll(t, d, orders(),
		msgRow('I', 7, msgTuple('N', "1", "", nil)),
		msgRow('U', 7, msgTuple('N', "1", "b", unchanged{})),
		msgRow('U', 7, msgTuple('K', "1", nil, nil), msgTuple('N', "2", "b", nil)),
		msgRow('U', 7, msgTuple('O', "2", "b", nil), msgTuple('N', "2", "c", nil)),
		msgRow('U', 7, msgTuple('K', unchanged{}, nil, nil), msgTuple('N', unchanged{}, "c", nil)),
		msgRow('D', 7, msgTuple('K', "2", nil, nil)),
		msgRow('D', 7, msgTuple('O', "2", nil, "x")),
	)
	rel := d.relations[7]
	null, absent, kept := audit.Value{Kind: audit.Null}, audit.Value{}, audit.Value{Kind: audit.Unchanged}
	want := []audit.Change{
		{Op: 'I', New: audit.Tuple{lit("1"), lit(""), null}},
		{Op: 'U', New: audit.Tuple{lit("1"), lit("b"), kept}},
		{Op: 'U', Old: audit.Tuple{lit("1"), absent, absent}, New: audit.Tuple{lit("2"), lit("b"), null}},
		{Op: 'U', Old: audit.Tuple{lit("2"), lit("b"), null}, OldWhole: true, New: audit.Tuple{lit("2"), lit("c"), null}},
		{Op: 'U', Old: audit.Tuple{kept, absent, absent}, New: audit.Tuple{kept, lit("c"), null}},
		{Op: 'D', Old: audit.Tuple{lit("2"), absent, absent}},
		{Op: 'D', Old: audit.Tuple{lit("2"), null, lit("x")}, OldWhole: true},
	}
	for i := range want {
		want[i].LSN, want[i].Relation = 0x10, rel
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{0}, rel.Key); diff != "" {
		t.Error("key", diff)
	}
}

// The values of a change are its own: the caller's buffer is used again at
// once, and the changes after it never write to it.
func TestDecodeCopies(t *testing.T) {
	d := newDecoder(fixedKeys{})
	decodeAll(t, d, orders())
	frame := msgRow('I', 7, msgTuple('N', "1", "first", nil))
	first := decodeAll(t, d, frame)[0]
	for i := range frame {
		frame[i] = 'x'
	}
	for range 5000 {
		decodeAll(t, d, msgRow('I', 7, msgTuple('N', "2", strings.Repeat("y", 50), nil)))
	}
	if diff := cmp.Diff(audit.Tuple{lit("1"), lit("first"), {Kind: audit.Null}}, first.New); diff != "" {
		t.Error(diff)
	}
	_ = append(first.New[0].Data, '!')
	if got := string(first.New[1].Data); got != "first" {
		t.Errorf("appending to a value changed its neighbour to %q", got)
	}
}

// Nothing that a broken or foreign message says is passed over: it is an error
// that shows position and bytes, and stops the stream.
func TestDecodeRefuses(t *testing.T) {
	row := func(op byte, tuples ...[]byte) []byte { return msgRow(op, 7, tuples...) }
	good := msgTuple('N', "1", "a", nil)
	tests := map[string][]byte{
		"empty":                       {},
		"unknown type":                {'S', 1, 2, 3},
		"unprintable type":            {1},
		"unknown table":               msgRow('I', 8, good),
		"wider than the table":        row('I', msgTuple('N', "1", "a", nil, nil)),
		"narrower than the table":     row('I', msgTuple('N', "1", "a")),
		"binary value":                row('I', slices.Concat([]byte{'N'}, be16(3), []byte{'b', 0, 0, 0, 0, 'n', 'n'})),
		"insert with old row":         row('I', msgTuple('O', "1", "a", nil), good),
		"insert of a key":             row('I', msgTuple('K', "1", "a", nil)),
		"update without new row":      row('U', msgTuple('O', "1", "a", nil)),
		"update with two old rows":    row('U', msgTuple('K', "1", nil, nil), msgTuple('O', "1", "a", nil)),
		"delete with new row":         row('D', good),
		"delete with bytes after":     row('D', msgTuple('K', "1", nil, nil), good),
		"insert with bytes after":     append(row('I', good), 0),
		"value longer than message":   row('I', slices.Concat([]byte{'N'}, be16(3), []byte{'t', 0xff, 0xff, 0xff, 0xff, 'a'})),
		"no name end":                 {'R', 0, 0, 0, 9, 'p', 'u'},
		"unknown identity":            msgRelation(9, "public", "x", 'z'),
		"unknown column flag":         slices.Concat(msgRelation(9, "public", "x", 'd')[:15], be16(1), []byte{2}, cstr("id"), be32(23), be32(0)),
		"truncate of unknown table":   msgTruncate(0, 8),
		"truncate of nothing":         msgTruncate(0),
		"truncate with unknown flag":  msgTruncate(4, 7),
		"truncate with wrong count":   append(msgTruncate(0, 7), 0, 0, 0, 7),
		"message with unknown flag":   append([]byte{'M', 2}, msgLogical(true, 1, "p", "c")[2:]...),
		"message with wrong length":   append(msgLogical(true, 1, "p", "c"), 'd'),
		"commit with flags":           append([]byte{'C', 1}, msgCommit(1, 2, 3)[2:]...),
		"begin with bytes after":      append(msgBegin(1, 2, 3), 0),
		"type without name":           {'Y', 0, 0, 0, 1, 'a', 0},
		"origin without name":         {'O', 0, 0, 0, 0, 0, 0, 0, 0},
		"message with endless prefix": {'M', 1, 0, 0, 0, 0, 0, 0, 0, 9, 'p', 'p', 'p', 'p'},
	}
	for name, frame := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDecoder(fixedKeys{})
			decodeAll(t, d, orders())
			_, err := d.decode(context.Background(), 0x16B3748, frame)
			var bad *DecodeError
			if !errors.As(err, &bad) || !errors.Is(err, audit.ErrNeedsHuman) || audit.Hint(err) == "" {
				t.Fatalf("got %v, want a DecodeError that needs a human", err)
			}
			if !strings.Contains(err.Error(), "0/16B3748") || bad.Size != len(frame) || !slices.Equal(bad.Message, frame) {
				t.Errorf("evidence is missing: %v", err)
			}
		})
	}
}

// Every message that ends too early is refused at every length.
func TestDecodeCutShort(t *testing.T) {
	for _, frame := range seeds() {
		for n := range len(frame) {
			d := newDecoder(fixedKeys{})
			decodeAll(t, d, orders())
			if _, err := d.decode(context.Background(), 1, frame[:n]); err == nil {
				t.Errorf("%q: the first %d bytes were taken for a message", frame, n)
			}
		}
	}
}

func TestDecodeErrorShowsOnlyTheBeginning(t *testing.T) {
	err := undecodable("insert", 1, make([]byte, 1000), errShort)
	if got := strings.Count(err.Error(), "00"); got != 256+1 { // and the 1000
		t.Errorf("%d bytes are shown, want 256", got-1)
	}
}

// A table keeps its *Relation until something about it changes.
func TestRelationReplaced(t *testing.T) {
	keys := fixedKeys{"public.orders": {"id"}}
	d := newDecoder(keys)
	at := func(frame []byte) *audit.Relation {
		decodeAll(t, d, frame)
		return d.relations[7]
	}
	first := at(orders())
	if at(orders()) != first {
		t.Error("the same description made another relation")
	}
	keys["public.orders"] = []string{"label", "id"}
	second := at(orders())
	if second == first || !slices.Equal(second.Key, []int{1, 0}) || !slices.Equal(first.Key, []int{0}) {
		t.Errorf("a new key: got %v, before it %v", second.Key, first.Key)
	}
	renamed := at(msgRelation(7, "public", "bestellungen", 'd', first.Columns...))
	if renamed.Name != "bestellungen" || first.Name != "orders" {
		t.Errorf("renamed: %s, before: %s", renamed.Name, first.Name)
	}
	if got := at(msgRelation(7, "", "pg_class", 'n')).Schema; got != "pg_catalog" {
		t.Errorf("empty schema name: got %q", got)
	}
}

func TestRelationKey(t *testing.T) {
	columns := []audit.Column{{Name: "a", InIdentity: true}, {Name: "b"}, {Name: "c", InIdentity: true}}
	tests := []struct {
		identity byte
		names    []string
		want     []int
	}{
		{'d', []string{"b"}, []int{1}},
		{'d', []string{"c", "a"}, []int{2, 0}},
		{'d', nil, []int{0, 2}},
		{'i', nil, []int{0, 2}},
		{'i', []string{"gone"}, []int{0, 2}},
		{'d', []string{"a", "gone"}, []int{0, 2}},
		{'f', nil, nil},
		{'f', []string{"gone"}, nil},
		{'f', []string{"a"}, []int{0}},
		{'n', nil, nil},
		{'n', []string{"b"}, []int{1}},
	}
	for _, tt := range tests {
		got := keyColumns(&audit.Relation{Identity: tt.identity, Columns: columns}, tt.names)
		if !slices.Equal(got, tt.want) {
			t.Errorf("identity %c, key %q: got %v, want %v", tt.identity, tt.names, got, tt.want)
		}
	}
}

type failingKeys struct{ err error }

func (k failingKeys) Facts(context.Context, uint32, uint32, string, string) (Facts, error) {
	return Facts{}, k.err
}

// A catalog that does not answer is no reason to guess, and none to stop for
// good.
func TestRelationWithoutCatalog(t *testing.T) {
	down := errors.New("connection refused")
	d := newDecoder(failingKeys{down})
	_, err := d.decode(context.Background(), 1, orders())
	if !errors.Is(err, down) || errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("got %v, want the error of the key source", err)
	}
	if d.relations[7] != nil {
		t.Error("the table was taken over without its key")
	}
}
