package verify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// Where the trail of gapTrail begins anew, and which entry declares it.
const (
	seamAt     = 120
	declaredAt = 150
)

// gapTrail is a trail whose positions go back at seamAt, and in which the entry
// declaredAt says after, as the sequence behind which they may.
func gapTrail(after string, change func(e *audit.Entry)) []audit.Entry {
	entries := makeTrail(300)
	for i := range entries {
		e := &entries[i]
		if i >= seamAt {
			e.CommitLSN -= 0x2000
		}
		if i == declaredAt {
			e.Operation, e.Action, e.ResourceType = audit.T("event"), audit.T("gap"), audit.T("pgwitness.stream")
			e.NewValues = audit.T(fmt.Sprintf(`{"cause": "log_behind", "what": "restored", "from": "0/2", "to": "0/1", "operator": "a\u001bda", "after_sequence": %s}`, after))
			if change != nil {
				change(e)
			}
		}
		e.ID = audit.EntryID(e.Stream, e.Timestamp, e.Position())
	}
	g := testGenesis()
	reseal(entries, genesisHash(&g))
	return entries
}

// A step back in the log is sound where an entry declares it, and nowhere else.
func TestDeclaredGapExcusesOneStepBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		after  string
		change func(e *audit.Entry)
		holds  bool
		gaps   int
	}{
		{"declared", "119", nil, true, 1},
		{"declared elsewhere", "118", nil, false, 1},
		{"at the beginning of the chain", "null", nil, false, 1},
		{"unreadable", `"x`, nil, false, 1},
		{"said by a row of a table", "119", func(e *audit.Entry) { e.Operation = audit.T("insert") }, false, 0},
		{"said of something else", "119", func(e *audit.Entry) { e.ResourceType = audit.T("order") }, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []uint64{0, 60, 7} { // segments: the seam on a border, and within
				report := verifyTrail(t, newArchive(gapTrail(c.after, c.change)), Options{}, size)
				v := report.Verdict(Completeness)
				if (v.Status == Holds) != c.holds || len(report.Gaps) != c.gaps {
					t.Errorf("completeness %s with the gaps %+v, findings %+v", v.Status, report.Gaps, v.Findings)
				}
				if integrity := report.Verdict(Integrity); integrity.Status != Holds {
					t.Errorf("integrity %s: %+v", integrity.Status, integrity.Findings)
				}
			}
		})
	}
}

func TestDeclaredGapIsInTheReport(t *testing.T) {
	report := verifyTrail(t, newArchive(gapTrail("119", nil)), Options{}, 0)
	var b strings.Builder
	if err := report.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"but for 1 declared gap", "gap declared at sequence 150: log_behind: restored", "from 0/2 to 0/1", "a?da"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

// links.sql judges as the verifier does.
func TestDeclaredGapInSQL(t *testing.T) {
	for after, want := range map[string]string{
		"119": "[300,1,0,299,[],[],[],[],[]]",
		"118": "[300,1,0,299,[],[],[],[120],[]]",
	} {
		db := newDatabase(t)
		db.store(gapTrail(after, nil))
		if got := db.sqlFile("links.sql"); got != want {
			t.Errorf("behind %s, links.sql says %s, want %s", after, got, want)
		}
	}
}
