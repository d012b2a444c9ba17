package sink_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

func TestRecoverReadsTheHead(t *testing.T) {
	tr := newTrail(t)
	if head, err := tr.sink().Recover(t.Context()); err != nil || head != (audit.Head{}) {
		t.Errorf("head of an empty chain is %+v (%v)", head, err)
	}
	s := tr.sink()
	head := genesis()
	for range 3 {
		head = insert(t, s, head, 100)
	}
	if got, err := tr.sink().Recover(t.Context()); err != nil || got != head {
		t.Errorf("head is %+v (%v), want %+v", got, err, head)
	}
}

// Odd states at start are refused, not repaired.
func TestRecoverRefusesABrokenChain(t *testing.T) {
	for name, tamper := range map[string]string{
		"hole":      "ALTER TABLE %[1]s.audit_logs DELETE WHERE sequence = 3 SETTINGS mutations_sync = 2",
		"double":    "INSERT INTO %[1]s.audit_logs SELECT * FROM %[1]s.audit_logs WHERE sequence = 3",
		"two heads": "INSERT INTO %[1]s.audit_logs SELECT * FROM %[1]s.audit_logs WHERE sequence = 9",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrail(t)
			insert(t, tr.sink(), genesis(), 10)
			tr.Exec(fmt.Sprintf(tamper, tr.Database))
			if head, err := tr.sink().Recover(t.Context()); !errors.Is(err, audit.ErrNeedsHuman) || audit.Hint(err) == "" {
				t.Errorf("recovers head %+v, %v; want an error that asks for a human, with a hint", head, err)
			}
		})
	}
}

// Entries that vanish while the sidecar runs stop it at the next insert.
func TestInsertBehindAVanishedHeadIsRefused(t *testing.T) {
	for name, tamper := range map[string]string{
		"tail cut":  "ALTER TABLE %[1]s.audit_logs DELETE WHERE sequence >= 7 SETTINGS mutations_sync = 2",
		"truncated": "TRUNCATE TABLE %[1]s.audit_logs",
		"head gone": "ALTER TABLE %[1]s.audit_logs DELETE WHERE sequence = 9 SETTINGS mutations_sync = 2",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrail(t)
			s := tr.sink()
			head := insert(t, s, genesis(), 10)
			tr.Exec(fmt.Sprintf(tamper, tr.Database))
			b, err := s.Prepare(chain(head, 5, "alice"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Insert(t.Context(), head, b); !errors.Is(err, audit.ErrNeedsHuman) {
				t.Errorf("insert ends with %v, want an error that asks for a human", err)
			}
		})
	}
}

// An insert of a process that is gone, whose rows never came to an end, must
// not be stored after the next process has read the head.
func TestRecoverKillsAnInsertInFlight(t *testing.T) {
	tr := newTrail(t)
	cfg := quick()
	cfg.StallTimeout = 4 * time.Second
	s, p := tr.proxied(cfg)
	head := insert(t, s, genesis(), 5)
	p.arm(freeze)
	ctx, die := context.WithCancel(t.Context())
	done := begin(ctx, t, s, head, large)
	p.wait()
	die()
	if r := <-done; !errors.Is(r.err, context.Canceled) {
		t.Fatalf("the process that is to die ends with %v", r.err)
	}
	running := func() string {
		return tr.Value("SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO \"audit_logs\"%' AND current_database = '" + tr.Database + "'")
	}
	if n := running(); n != "1" {
		t.Fatalf("%s inserts in flight, want 1", n)
	}
	next := tr.sink()
	got, err := next.Recover(t.Context())
	if err != nil || got != head {
		t.Errorf("recovers %+v (%v), want %+v", got, err, head)
	}
	if n := running(); n != "0" {
		t.Errorf("%s inserts in flight after Recover", n)
	}
	if next.Stats().Fenced != 1 {
		t.Errorf("%d inserts fenced, want 1", next.Stats().Fenced)
	}
	tr.mustHold(insert(t, next, head, 10))
}

// An insert in flight that is about to end is awaited, not killed.
func TestRecoverAwaitsAnInsertInFlight(t *testing.T) {
	tr := newTrail(t)
	// Each row costs the server a millisecond.
	tr.Exec("CREATE TABLE " + tr.Database + ".slow (n UInt64) ENGINE = Null")
	tr.Exec("CREATE MATERIALIZED VIEW " + tr.Database + ".slowly TO " + tr.Database + ".slow SQL SECURITY NONE AS " +
		"SELECT sequence + sleepEachRow(0.001) AS n FROM " + tr.Database + ".audit_logs")
	s := tr.sink()
	head := insert(t, s, genesis(), 5)
	done := begin(t.Context(), t, s, head, 1000)
	tr.eventually("the insert runs", func() bool {
		return tr.Value("SELECT count() FROM system.processes WHERE startsWith(query_id, 'pgwitness/shop/5/') AND elapsed > 0.05") == "1"
	})
	cfg := quick()
	cfg.FenceWait = time.Minute
	next := tr.with(cfg)
	got, err := next.Recover(t.Context())
	if err != nil || got.Size != 1005 {
		t.Errorf("recovers %+v (%v), want the head after the insert", got, err)
	}
	if head = must(t, done); got != head || next.Stats().Fenced != 0 {
		t.Errorf("head is %+v, want %+v; %d inserts killed, want none", got, head, next.Stats().Fenced)
	}
	tr.mustHold(head)
}

func TestPrepareRefusesWhatIsNoBatch(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	spoil := func(change func([]audit.Entry)) []audit.Entry {
		entries := chain(genesis(), 3, "alice")
		change(entries)
		return entries
	}
	for name, entries := range map[string][]audit.Entry{
		"no entries":     nil,
		"another stream": spoil(func(e []audit.Entry) { e[1].Stream = "other" }),
		"a hole":         spoil(func(e []audit.Entry) { e[2].Sequence++ }),
		"a broken link":  spoil(func(e []audit.Entry) { e[2].PrevHash[0]++ }),
		"two months":     spoil(func(e []audit.Entry) { e[2].Timestamp += 40 * 24 * time.Hour.Microseconds() }),
	} {
		if _, err := s.Prepare(entries); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b, err := s.Prepare(chain(genesis(), 3, "alice"))
	if err != nil || b.Rows() != 3 {
		t.Fatalf("after refusals a good batch has %d rows: %v", b.Rows(), err)
	}
	other := genesis()
	other.Hash[0]++
	if _, err := s.Insert(t.Context(), other, b); err == nil {
		t.Error("a batch is inserted behind another head than its own")
	}
}

// The last microsecond of a month and the first of the next are two batches,
// two partitions, one chain.
func TestMonthBoundary(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	february := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	entries := chain(genesis(), 2, "alice")
	entries[0].Timestamp, entries[1].Timestamp = february-1, february
	if _, err := s.Prepare(entries); err == nil {
		t.Error("a batch over two months is accepted")
	}
	head := genesis()
	for i := range entries {
		b, err := s.Prepare(entries[i : i+1])
		if err != nil {
			t.Fatal(err)
		}
		if head, err = s.Insert(t.Context(), head, b); err != nil {
			t.Fatal(err)
		}
	}
	tr.mustHold(head)
	months := tr.Value("SELECT arrayStringConcat(arraySort(groupUniqArray(partition)), ' ') FROM system.parts WHERE database = '" +
		tr.Database + "' AND table = 'audit_logs' AND active")
	if months != "202601 202602" {
		t.Errorf("partitions are %s", months)
	}
}

func TestGenesisIsCreatedOnce(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	if _, _, found, err := s.Genesis(t.Context()); found || err != nil {
		t.Fatalf("genesis of an empty trail: found %t, %v", found, err)
	}
	want := store.Genesis{
		Stream: "shop", SystemID: "73", Timeline: 1, Database: "d", Slot: "s", Publication: "p",
		LogPublicKey: []byte{1, 0}, Random: [32]byte{1}, CreatedAt: start,
	}
	for range 2 {
		if err := s.CreateGenesis(t.Context(), want, "TimeZone=UTC"); err != nil {
			t.Fatal(err)
		}
	}
	got, settings, found, err := tr.sink().Genesis(t.Context())
	if diff := cmp.Diff(want, got); err != nil || !found || settings != "TimeZone=UTC" || diff != "" {
		t.Errorf("found %t with settings %q: %v (-want +got):\n%s", found, settings, err, diff)
	}
	other := want
	other.Random[0]++
	if err := tr.sink().CreateGenesis(t.Context(), other, ""); !errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("another genesis: %v, want an error that asks for a human", err)
	}
}

// The last position saved counts, even when it is not the highest: a database
// restored from a backup goes back.
func TestLastPositionIsTheOneSavedLast(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	if lsn, err := s.LastPosition(t.Context()); lsn != 0 || err != nil {
		t.Errorf("position before the first is %s (%v)", lsn, err)
	}
	for _, want := range []audit.LSN{0x10, 0x20, 1 << 63, 0x18} {
		if err := s.SavePosition(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if got, err := tr.sink().LastPosition(t.Context()); got != want || err != nil {
			t.Errorf("last position is %s (%v), want %s", got, err, want)
		}
	}
	tr.Exec("OPTIMIZE TABLE " + tr.Database + ".slot_positions FINAL")
	if got, err := s.LastPosition(t.Context()); got != 0x18 || err != nil {
		t.Errorf("last position after a merge is %s (%v)", got, err)
	}
}
