package pgwitness

import (
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// A snapshot sees what had ended when it was taken, also behind the place
// where the 32 bits of the log begin anew.
func TestSight(t *testing.T) {
	const before = audit.LSN(1 << 40)
	for _, c := range []struct {
		name, snapshot string
		xid            uint32
		commit         audit.LSN
		want           bool
	}{
		{"long ago", "100:104:100,102", 7, 10, true},
		{"ended in between", "100:104:100,102", 101, before - 10, true},
		{"running", "100:104:100,102", 102, before - 10, false},
		{"running, committed behind it", "100:104:100,102", 102, before + 10, false},
		{"ended after the position was read", "100:104:100,102", 103, before + 10, true},
		{"began later", "100:104:100,102", 104, before + 10, false},
		{"its commit is in the log, nothing behind it has ended", "100:104:100,102", 104, before - 10, false},
		{"the same, and others of its kind", "100:104:100,102", 110, before - 10, false},
		{"the same, over the end of a round", "4294967290:4294967290:", 3, before - 10, false},
		{"a number above, of an earlier round", "100:104:", 4_000_000_000, before - wrapDistance - 10, true},
		{"a running number, of an earlier round", "4294967396:4294967400:4294967398", 102, before - wrapDistance - 10, true},
		{"running, of a later round", "4294967396:4294967400:4294967398", 102, before - 10, false},
		{"began later, over the end of a round", "4294967290:4294967290:", 3, before + 10, false},
		{"nothing runs", "5:5:", 4, before + 10, true},
	} {
		snapshot, err := audit.ParseSnapshot(c.snapshot)
		if err != nil {
			t.Fatal(err)
		}
		s := sight{before, snapshot}
		if got := s.sees(&audit.Entry{XID: c.xid, CommitLSN: c.commit}); got != c.want {
			t.Errorf("%s: sees is %v", c.name, got)
		}
	}
	for _, bad := range []string{"", "1", "1:2", "1:x:", "1:2:x"} {
		if _, err := audit.ParseSnapshot(bad); err == nil {
			t.Errorf("%q was taken for a snapshot", bad)
		}
	}
}
