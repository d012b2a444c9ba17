package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/test/harness"
)

// peakLimit is the memory in MiB that the sidecar may have in RAM at its worst
// moment, however large a transaction is.
const peakLimit = 256

// hugeRows is the number of rows of the huge transaction: few by default, 5
// million by `make test-huge`.
func hugeRows(t testing.TB) int {
	t.Helper()
	text := os.Getenv("PGWITNESS_HUGE_ROWS")
	if text == "" {
		return 300_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 10 {
		t.Fatalf("PGWITNESS_HUGE_ROWS is %q, not a number of rows", text)
	}
	return n
}

// A transaction of millions of rows under two contexts: the memory of the
// sidecar stays bounded, every row is one entry, in order, each of its own
// actor, and the chain holds.
func TestCapture_case16_huge_transaction(t *testing.T) {
	n := hugeRows(t)
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec("CREATE TABLE ledger (id bigint PRIMARY KEY, account int NOT NULL, amount numeric(12,2), booked timestamptz, note text)")
	s := newSidecar(t, pg, ch, "streams:\n  - name: ledger\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: public.ledger}]\n")
	s.binary = harness.PlainBinary(t)
	s.start()
	s.sync(time.Minute)
	atRest := s.peak()

	began := time.Now()
	inserted := n * 3 / 5 // and the rest of the changes are updates
	conn := pg.Connect()
	for _, statement := range []string{
		"BEGIN",
		"SET LOCAL synchronize_seqscans = off", // rows are updated in the order of their ids
		"SELECT set_config('audit.actor_id', 'importer', true)",
		fmt.Sprintf("INSERT INTO ledger SELECT i, i %% 1000, i * 1.5, now(), 'booked by the yearly import, position ' || i FROM generate_series(1, %d) i", inserted),
		"SELECT set_config('audit.actor_id', 'corrector', true)",
		fmt.Sprintf("UPDATE ledger SET amount = amount + 1, note = note || ', corrected' WHERE id <= %d", n-inserted),
		"COMMIT",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	committed := time.Now()
	s.sync(time.Minute + time.Duration(n)*time.Millisecond/2)
	stored := time.Now()

	want := fmt.Sprintf("(%d,0,%d,%d,0,1)", n, inserted, n-inserted)
	got := ch.Value(`SELECT (count(), min(ordinal), countIf(actor_id = 'importer' AND operation = 'insert' AND toUInt64(resource_id) = ordinal + 1),
		countIf(actor_id = 'corrector' AND operation = 'update' AND toUInt64(resource_id) + ` + strconv.Itoa(inserted) + ` = ordinal + 1),
		countIf(sequence - ordinal != first), uniqExact(commit_lsn))
		FROM (SELECT *, min(sequence) OVER () AS first FROM ` + ch.Database + `.audit_logs WHERE table_name = 'ledger')`)
	if strings.ReplaceAll(got, " ", "") != want {
		t.Errorf("entries, first ordinal, imported in place, corrected in place, out of sequence, transactions: %s, want %s", got, want)
	}
	peak := s.peak()
	t.Logf("%d rows in one transaction: peak %d MiB in RAM (%d at rest), written in %s, stored %s after the commit",
		n, peak, atRest, committed.Sub(began).Round(time.Second), stored.Sub(committed).Round(time.Second))
	if peak > peakLimit {
		t.Errorf("the sidecar had %d MiB in RAM at its worst moment, want at most %d", peak, peakLimit)
	}
	s.stop()
	s.verified()
}

// peak is the most that the sidecar ever had in RAM, in MiB.
func (s *sidecar) peak() int {
	s.t.Helper()
	s.mu.Lock()
	pid := s.process.Process.Pid
	s.mu.Unlock()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				s.t.Fatal(err)
			}
			return kib >> 10
		}
	}
	s.t.Fatalf("no VmHWM in the status of process %d", pid)
	return 0
}
