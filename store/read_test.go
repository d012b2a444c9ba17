package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// many inserts n entries in two parts.
func (tr *trail) many(n int) {
	tr.t.Helper()
	columns := store.NewColumns()
	for i := range n {
		if i == n/2 {
			tr.send(columns)
			columns.Reset()
		}
		e := entry(uint64(i), func(field string) audit.Text { return audit.T(field) })
		columns.Append(&e)
	}
	tr.send(columns)
}

func TestBlocksComeInOrderAndTogetherAreAll(t *testing.T) {
	tr := newTrail(t)
	tr.many(60_000)
	var next uint64
	blocks := 0
	query := store.Select("stream = {stream:String}", "ORDER BY stream, sequence SETTINGS max_block_size = 1000")
	err := store.Blocks(t.Context(), tr.dial(), query, func(c *store.Columns) error {
		var e audit.Entry
		for i := range c.Rows() {
			c.Row(i, &e)
			if e.Sequence != next {
				t.Fatalf("entry %d comes after %d", e.Sequence, next)
			}
			next++
		}
		blocks++
		return nil
	}, store.Param("stream", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	if next != 60_000 || blocks < 4 {
		t.Errorf("%d entries in %d blocks, want 60000 in at least 4", next, blocks)
	}
}

func TestStoppingEndsTheQuery(t *testing.T) {
	tr := newTrail(t)
	tr.many(5000)
	query := store.Select("", "ORDER BY stream, sequence SETTINGS max_block_size = 1000")

	seen := 0
	client := tr.dial()
	for e, err := range store.Entries(t.Context(), client, query) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; e.Sequence == 10 {
			break
		}
	}
	if seen != 11 || !client.IsClosed() {
		t.Errorf("saw %d entries, connection closed: %t; want 11 and true", seen, client.IsClosed())
	}

	stop := errors.New("enough")
	if err := store.Blocks(t.Context(), tr.dial(), query, func(*store.Columns) error { return stop }); err != stop {
		t.Errorf("error of the consumer comes back as %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	err := store.Blocks(ctx, tr.dial(), query, func(*store.Columns) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled query returns %v", err)
	}
}

func TestReadingWithoutATableSaysSetup(t *testing.T) {
	tr := newTrail(t)
	tr.Exec("DROP TABLE " + tr.Database + ".audit_logs SYNC")
	for _, err := range store.Entries(t.Context(), tr.dial(), store.Select("", "")) {
		if err == nil || !strings.Contains(audit.Hint(err), "pgwitness setup") {
			t.Errorf("error %v with hint %q, want one that names pgwitness setup", err, audit.Hint(err))
		}
		return
	}
	t.Error("no error")
}

func TestParamsArriveAsTheyAre(t *testing.T) {
	tr := newTrail(t)
	for _, want := range []string{
		"", "x", "it's", `back\slash`, `\'`, `\\`, "tab\tnewline\nreturn\r", `\N`, "NULL", "größe 𝄞", "'; DROP TABLE audit_logs; --", "{x:String}", "nul\x00byte",
	} {
		var got proto.ColStr
		err := tr.dial().Do(t.Context(), ch.Query{
			Body: "SELECT {v:String} AS v", Parameters: []proto.Parameter{store.Param("v", want)},
			Result: proto.Results{{Name: "v", Data: &got}},
		})
		if err != nil || got.Rows() != 1 || got.Row(0) != want {
			t.Errorf("parameter %q arrives as %q (%v)", want, got.Buf, err)
		}
	}
}

func TestGenesisSurvivesClickHouse(t *testing.T) {
	tr := newTrail(t)
	if _, _, found, err := store.ReadGenesis(t.Context(), tr.dial(), "shop"); found || err != nil {
		t.Fatalf("genesis of an empty trail: found %t, %v", found, err)
	}
	want := store.Genesis{
		Stream: "shop", SystemID: "7301234567890123456", Timeline: 3, Database: "shöp", Slot: "s", Publication: "p",
		LogPublicKey: []byte{0, 1, 0xff, 0}, Random: [32]byte{31: 0}, CreatedAt: 1_700_000_000_000_001,
	}
	insert := func() {
		input := store.GenesisInput(want, "DateStyle=ISO")
		if err := tr.dial().Do(t.Context(), ch.Query{Body: input.Into("genesis"), Input: input}); err != nil {
			t.Fatal(err)
		}
	}
	insert()
	got, settings, found, err := store.ReadGenesis(t.Context(), tr.dial(), "shop")
	if err != nil || !found || settings != "DateStyle=ISO" || string(got.LogPublicKey) != string(want.LogPublicKey) {
		t.Fatalf("genesis %+v, settings %q, found %t: %v", got, settings, found, err)
	}
	got.LogPublicKey, want.LogPublicKey = nil, nil
	if got.Random != want.Random || got.CreatedAt != want.CreatedAt || got.Database != want.Database || got.Timeline != want.Timeline {
		t.Errorf("genesis came back as %+v, want %+v", got, want)
	}
	want.Slot = "another"
	insert()
	if _, _, _, err := store.ReadGenesis(t.Context(), tr.dial(), "shop"); !errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("two geneses: %v, want an error that asks for a human", err)
	}
}
