package sink_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// trail is a migrated database on a real engine.
type trail struct {
	*harness.CH
	t testing.TB
}

// newTrail is a database on the shared engine.
func newTrail(t testing.TB) *trail {
	t.Helper()
	return migrated(t, harness.ClickHouse(t))
}

// ownTrail is on an engine that the test may kill.
func ownTrail(t testing.TB) *trail {
	t.Helper()
	return migrated(t, harness.ClickHouseServer(t))
}

func migrated(t testing.TB, db *harness.CH) *trail {
	t.Helper()
	tr := &trail{db, t}
	if _, err := sink.Migrate(t.Context(), tr.server(engine.Admin)); err != nil {
		t.Fatal(err)
	}
	return tr
}

// server is the trail as a user sees it.
func (tr *trail) server(user string) store.Server {
	tr.t.Helper()
	s, err := store.Parse(tr.DSN(user))
	if err != nil {
		tr.t.Fatal(err)
	}
	return s
}

// patience of the tests: short, so that a fault is overcome quickly.
func quick() sink.Config {
	c := sink.DefaultConfig()
	c.InsertTimeout, c.StallTimeout = 30*time.Second, time.Second
	c.FenceWait, c.MaxBackoff = 300*time.Millisecond, 200*time.Millisecond
	return c
}

func (tr *trail) sink() *sink.Sink {
	tr.t.Helper()
	return tr.with(quick())
}

// with makes a sink of stream shop.
func (tr *trail) with(cfg sink.Config) *sink.Sink {
	tr.t.Helper()
	s := sink.New(tr.server("sink"), cfg, "shop", zerolog.New(zerolog.NewTestWriter(tr.t)))
	tr.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			tr.t.Errorf("close sink: %v", err)
		}
	})
	return s
}

// count is the number of stored entries of stream shop, and how many of them
// are distinct.
func (tr *trail) count() string {
	tr.t.Helper()
	return tr.Value("SELECT concat(toString(count()), ' entries, ', toString(uniqExact(sequence)), ' distinct') FROM " +
		tr.Database + ".audit_logs WHERE stream = 'shop'")
}

// mustHold checks that the trail is exactly the n entries that end in head.
func (tr *trail) mustHold(head audit.Head) {
	tr.t.Helper()
	if got, want := tr.count(), fmt.Sprintf("%d entries, %d distinct", head.Size, head.Size); got != want {
		tr.t.Errorf("stored are %s; want %s", got, want)
	}
	got, err := tr.sink().Recover(tr.t.Context())
	if err != nil || got != head {
		tr.t.Errorf("stored head is %+v (%v), want %+v", got, err, head)
	}
}

// start is when the entries of the tests begin: 2 January 2026, 03:04:05 UTC.
const start = 1_767_323_045_000_000

// chain makes n linked entries behind head. The hashes are not those of
// package chain; the sink looks at the links only.
func chain(head audit.Head, n int, author string) []audit.Entry {
	entries := make([]audit.Entry, n)
	for i := range entries {
		e := &entries[i]
		e.Stream, e.Sequence, e.PrevHash = "shop", head.Size, head.Hash
		e.Timestamp = max(start, head.Timestamp) + 1000
		e.CommitLSN, e.Ordinal = audit.LSN(0x1000+head.Size/3), uint32(head.Size%3)
		e.ActorID, e.Action = audit.T(author), audit.T("update")
		e.NewValues = audit.T(fmt.Sprintf(`{"id":%d,"note":%q}`, head.Size, strings.Repeat(author, 10)))
		e.Changed = []string{"id", "note"}
		e.Hash = sha256.Sum256(binary.BigEndian.AppendUint64(append(head.Hash[:], author...), head.Size))
		e.ID = audit.EntryID("shop", e.Timestamp, e.Position())
		head = audit.Head{Size: e.Sequence + 1, Hash: e.Hash, Position: e.Position(), Timestamp: e.Timestamp}
	}
	return entries
}

// genesis is the head of the empty chain.
func genesis() audit.Head { return audit.Head{Hash: sha256.Sum256([]byte("genesis"))} }

// insert stores n entries behind head and fails the test when that fails.
func insert(t testing.TB, s *sink.Sink, head audit.Head, n int) audit.Head {
	t.Helper()
	b, err := s.Prepare(chain(head, n, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	head, err = s.Insert(t.Context(), head, b)
	if err != nil {
		t.Fatal(err)
	}
	return head
}
