package cdc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// feedFrames decodes and assembles frames.
func feedFrames(d *decoder, a *assembler, frames ...[]byte) error {
	for _, f := range frames {
		m, err := d.decode(context.Background(), 1, f)
		if err != nil {
			return err
		}
		if err := a.add(m); err != nil {
			return err
		}
	}
	return nil
}

// What comes in an impossible order is refused: positions would lie.
func TestAssembleRefusesDisorder(t *testing.T) {
	row := msgRow('I', 7, msgTuple('N', "1", "a", nil))
	begin, commit := msgBegin(100, 5, 9), msgCommit(100, 110, 5)
	tests := map[string][][]byte{
		"change outside":           {row},
		"truncate outside":         {msgTruncate(0, 7)},
		"message outside":          {msgLogical(true, 50, "p", "c")},
		"commit outside":           {commit},
		"begin inside":             {begin, msgBegin(120, 5, 10)},
		"same commit again":        {begin, commit, begin},
		"earlier commit":           {begin, commit, msgBegin(90, 5, 10)},
		"commit of another":        {begin, msgCommit(101, 110, 5)},
		"commit of another time":   {begin, msgCommit(100, 110, 6)},
		"commit without end":       {begin, msgCommit(100, 100, 5)},
		"outside message inside":   {begin, msgLogical(false, 50, "p", "c")},
		"outside message nowhere":  {msgLogical(false, 0, "p", "c")},
		"second commit of the one": {begin, commit, commit},
	}
	for name, frames := range tests {
		d, a := newDecoder(fixedKeys{}), &assembler{maxBytes: 1 << 20, maxChanges: 100}
		if err := feedFrames(d, a, append([][]byte{orders()}, frames...)...); !errors.Is(err, errOrder) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Whatever sizes come, a feed that was delivered never changes afterwards, all
// changes come once and in order, and no part is above the limits.
func TestAssembleHandsOver(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	d, a := newDecoder(fixedKeys{}), &assembler{maxBytes: 40_000, maxChanges: 300}
	if err := feedFrames(d, a, orders()); err != nil {
		t.Fatal(err)
	}
	var feeds []audit.Feed
	var told []string
	take := func() {
		f := a.take()
		feeds, told = append(feeds, f), append(told, tell(t, a, f))
	}
	var want strings.Builder
	id := 0
	for commit := int64(1000); commit < 1000+400*100; commit += 100 {
		n := []int{0, 1, 1, 2, 5, 200, 1000}[random.IntN(7)]
		frames := [][]byte{msgBegin(audit.LSN(commit), commit, uint32(commit))}
		for range n {
			id++
			size := []int{50_000, 10_000, 1000, 0, 10}[min(random.IntN(500), 4)]
			value := strings.Repeat(string(rune('a'+id%26)), size)
			frames = append(frames, msgRow('I', 7, msgTuple('N', fmt.Sprint(id), value, nil)))
			fmt.Fprintf(&want, "%d:%d ", id, size)
		}
		for _, f := range append(frames, msgCommit(audit.LSN(commit), audit.LSN(commit+50), commit)) {
			if err := feedFrames(d, a, f); err != nil {
				t.Fatal(err)
			}
			if a.full() || random.IntN(50) == 0 && len(a.feed.Txs) > 0 {
				take()
			}
		}
	}
	take()
	var got strings.Builder
	for i, f := range feeds {
		if now := tell(t, a, f); now != told[i] {
			t.Fatalf("feed %d was changed after it was delivered", i)
		}
		got.WriteString(told[i])
	}
	if got.String() != want.String() {
		t.Error("the changes delivered are not the changes read")
	}
}

// tell lists the changes of a feed and checks its limits.
func tell(t *testing.T, a *assembler, f audit.Feed) string {
	t.Helper()
	var b strings.Builder
	for _, tx := range f.Txs {
		if len(tx.Changes) > a.maxChanges {
			t.Errorf("a part of %d changes", len(tx.Changes))
		}
		if len(tx.Changes) == 0 && !(tx.First && tx.Last) {
			t.Error("an empty part")
		}
		for _, c := range tx.Changes {
			fmt.Fprintf(&b, "%s:%d ", c.New[0].Data, len(c.New[1].Data))
			if data := c.New[1].Data; len(data) > 0 && strings.Trim(string(data), string(data[:1])) != "" {
				t.Errorf("row %s: its value was written over", c.New[0].Data)
			}
		}
	}
	if f.Bytes > 2*a.maxBytes+60_000 {
		t.Errorf("a feed of %d bytes", f.Bytes)
	}
	return b.String()
}

// Parts are cut by the content of their transaction alone, not by what came in
// the same feed or was described in between.
func TestAssembleCutsByContent(t *testing.T) {
	cuts := func(before int, described bool) (sizes []int) {
		d, a := newDecoder(fixedKeys{}), &assembler{maxBytes: 5000, maxChanges: 20}
		frames := [][]byte{orders()}
		for i := range before {
			frames = append(frames, msgBegin(audit.LSN(10+10*i), 1, 1), msgRow('D', 7, msgTuple('K', "1", nil, nil)), msgCommit(audit.LSN(10+10*i), audit.LSN(15+10*i), 1))
		}
		frames = append(frames, msgBegin(1000, 1, 2))
		for i := range 100 {
			if described && i%7 == 0 {
				frames = append(frames, orders())
			}
			frames = append(frames, msgRow('I', 7, msgTuple('N', "1", strings.Repeat("x", i*10), nil)))
		}
		if err := feedFrames(d, a, append(frames, msgCommit(1000, 1010, 1))...); err != nil {
			t.Fatal(err)
		}
		for _, tx := range a.take().Txs {
			if tx.CommitLSN == 1000 {
				sizes = append(sizes, len(tx.Changes))
			}
		}
		return sizes
	}
	want := fmt.Sprint(cuts(0, false))
	for before := range 5 {
		if got := fmt.Sprint(cuts(before, before%2 == 1)); got != want {
			t.Errorf("behind %d transactions: parts of %s, want %s", before, got, want)
		}
	}
}
