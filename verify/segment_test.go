package verify

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// copyOf is a trail whose entries share no memory with the original.
func copyOf(entries []audit.Entry) []audit.Entry {
	out := make([]audit.Entry, len(entries))
	for i := range entries {
		out[i] = store.Clone(&entries[i])
	}
	return out
}

// Tampering at every place around the border of two segments is found as it
// would be within one.
func TestSeams(t *testing.T) {
	const segment = 16
	pristine := makeTrail(3 * segment)
	moved := func(es []audit.Entry, i, by int) []audit.Entry { es[i].Sequence += uint64(by); return es }
	tampering := []struct {
		name string
		do   func(es []audit.Entry, i int) []audit.Entry
		want func(i int) []string
	}{
		{
			"edited", func(es []audit.Entry, i int) []audit.Entry { es[i].ActorID = audit.T("x"); return es },
			func(i int) []string { return []string{fmt.Sprintf("integrity content_altered %d", i)} },
		},
		{
			"prev_hash", func(es []audit.Entry, i int) []audit.Entry { es[i].PrevHash[0] ^= 1; return es },
			func(i int) []string { return []string{fmt.Sprintf("integrity prev_hash_altered %d", i)} },
		},
		{
			"entry_hash", func(es []audit.Entry, i int) []audit.Entry { es[i].Hash[0] ^= 1; return es },
			func(i int) []string { return []string{fmt.Sprintf("integrity entry_hash_altered %d", i)} },
		},
		{
			"rehashed", func(es []audit.Entry, i int) []audit.Entry {
				es[i].ActorID = audit.T("x")
				reseal(es[i:i+1], es[i].PrevHash)
				return es
			},
			func(i int) []string { return []string{fmt.Sprintf("integrity link_broken %d", i+1)} },
		},
		{
			"deleted", func(es []audit.Entry, i int) []audit.Entry { return slices.Delete(es, i, i+1) },
			func(i int) []string { return []string{fmt.Sprintf("completeness missing %d", i)} },
		},
		{
			"deleted two", func(es []audit.Entry, i int) []audit.Entry { return slices.Delete(es, i, i+2) },
			func(i int) []string { return []string{fmt.Sprintf("completeness missing %d to %d", i, i+1)} },
		},
		{
			"deleted segment", func(es []audit.Entry, i int) []audit.Entry { return slices.Delete(es, i, i+segment) },
			func(i int) []string { return []string{fmt.Sprintf("completeness missing %d to %d", i, i+segment-1)} },
		},
		{
			"doubled", func(es []audit.Entry, i int) []audit.Entry { return append(es, es[i]) },
			func(i int) []string { return []string{fmt.Sprintf("completeness duplicate %d", i)} },
		},
		{
			"forked, the fork first", func(es []audit.Entry, i int) []audit.Entry {
				fork := store.Clone(&es[i])
				fork.ActorID = audit.T("x")
				es = slices.Insert(es, i, fork)
				reseal(es[i:i+1], es[i].PrevHash)
				return es
			},
			func(i int) []string { return []string{fmt.Sprintf("completeness duplicate %d", i)} },
		},
		{
			"swapped", func(es []audit.Entry, i int) []audit.Entry { return moved(moved(es, i, 1), i+1, -1) },
			func(i int) []string {
				return []string{fmt.Sprintf("integrity swapped %d", i), fmt.Sprintf("integrity swapped %d", i+1)}
			},
		},
	}
	for _, tt := range tampering {
		for i := segment - 3; i < 2*segment-2; i++ {
			src := newArchive(tt.do(copyOf(pristine), i))
			for _, size := range []uint64{segment, 1, 7, 1000} {
				report := verifyTrail(t, src, Options{Parallel: 3}, size)
				total := report.Verdict(Integrity).Total + report.Verdict(Completeness).Total
				if diff := cmp.Diff(tt.want(i), faults(report)); diff != "" || total != uint64(len(tt.want(i))) {
					t.Errorf("%s at %d, segments of %d: %d findings (-want +got):\n%s", tt.name, i, size, total, diff)
				}
			}
		}
	}
}

// On the real engine as well, with many queries at a time.
func TestSeamsOnClickHouse(t *testing.T) {
	db := pristine(t, makeTrail(1000))
	db.exec("ALTER TABLE audit_logs UPDATE actor_id = 'x' WHERE sequence IN (0, 99, 100, 199, 200, 999) SETTINGS mutations_sync = 2")
	db.exec("ALTER TABLE audit_logs DELETE WHERE sequence BETWEEN 298 AND 401 OR sequence = 600 OR sequence = 899 SETTINGS mutations_sync = 2")
	want := []string{
		"integrity content_altered 0", "integrity content_altered 99", "integrity content_altered 100",
		"integrity content_altered 199", "integrity content_altered 200", "integrity content_altered 999",
		"completeness missing 298 to 401", "completeness missing 600", "completeness missing 899",
	}
	for _, parallel := range []int{1, 4} {
		if diff := cmp.Diff(want, faults(verifyTrail(t, db.source(), Options{Parallel: parallel}, 100))); diff != "" {
			t.Errorf("%d at a time (-want +got):\n%s", parallel, diff)
		}
	}
}

// column alters one thing in an entry.
type alteration struct {
	name string
	do   func(t *rapid.T, e *audit.Entry)
}

// alterations are everything that a hash covers, and the hashes.
func alterations() []alteration {
	text := func(name string, of func(e *audit.Entry) *audit.Text) alteration {
		return alteration{name, func(t *rapid.T, e *audit.Entry) { alterText(t, of(e)) }}
	}
	bit := func(name string, of func(e *audit.Entry) []byte) alteration {
		return alteration{name, func(t *rapid.T, e *audit.Entry) { flipBit(t, of(e)) }}
	}
	all := []alteration{
		bit("id", func(e *audit.Entry) []byte { return e.ID[:] }),
		bit("salt", func(e *audit.Entry) []byte { return e.Salt[:] }),
		bit("prev_hash", func(e *audit.Entry) []byte { return e.PrevHash[:] }),
		bit("entry_hash", func(e *audit.Entry) []byte { return e.Hash[:] }),
		{"timestamp", func(t *rapid.T, e *audit.Entry) { e.Timestamp ^= 1 << rapid.IntRange(0, 62).Draw(t, "bit") }},
		{"xid", func(t *rapid.T, e *audit.Entry) { e.XID ^= 1 << rapid.IntRange(0, 31).Draw(t, "bit") }},
		{"commit_lsn", func(t *rapid.T, e *audit.Entry) { e.CommitLSN ^= 1 << rapid.IntRange(0, 63).Draw(t, "bit") }},
		{"ordinal", func(t *rapid.T, e *audit.Entry) { e.Ordinal ^= 1 << rapid.IntRange(0, 31).Draw(t, "bit") }},
		{"changed", func(t *rapid.T, e *audit.Entry) {
			e.Changed = [][]string{{}, {"status"}, {"total", "status"}, {"status", "total", ""}, {"statustotal"}}[rapid.IntRange(0, 4).Draw(t, "list")]
		}},
	}
	texts := map[string]func(e *audit.Entry) *audit.Text{
		"actor_id": func(e *audit.Entry) *audit.Text { return &e.ActorID }, "actor_email": func(e *audit.Entry) *audit.Text { return &e.ActorEmail },
		"old_values": func(e *audit.Entry) *audit.Text { return &e.OldValues }, "new_values": func(e *audit.Entry) *audit.Text { return &e.NewValues },
		"reason_note": func(e *audit.Entry) *audit.Text { return &e.ReasonNote }, "ip_address": func(e *audit.Entry) *audit.Text { return &e.IPAddress },
		"geo_lat": func(e *audit.Entry) *audit.Text { return &e.GeoLat }, "operation": func(e *audit.Entry) *audit.Text { return &e.Operation },
	}
	for name, of := range texts {
		all = append(all, text(name, of))
	}
	slices.SortFunc(all, func(a, b alteration) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}

func flipBit(t *rapid.T, b []byte) {
	n := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
	b[n/8] ^= 1 << (n % 8)
}

// alterText makes another text: a flipped bit, cut, longer, NULL, empty.
func alterText(t *rapid.T, text *audit.Text) {
	switch {
	case *text == nil:
		*text = audit.T("")
	case len(*text) == 0:
		*text = nil
	default:
		switch rapid.IntRange(0, 4).Draw(t, "how") {
		case 0:
			flipBit(t, *text)
		case 1:
			*text = (*text)[:len(*text)-1]
		case 2:
			*text = append(*text, 0)
		case 3:
			*text = nil
		case 4:
			*text = audit.T("")
		}
	}
}

// Any alteration of any entry is found, at that entry, however the trail is
// cut into segments.
func TestAnyAlterationIsFound(t *testing.T) {
	pristine := makeTrail(120)
	all := alterations()
	rapid.Check(t, func(rt *rapid.T) {
		entries := copyOf(pristine)
		i := rapid.IntRange(0, len(entries)-1).Draw(rt, "sequence")
		a := all[rapid.IntRange(0, len(all)-1).Draw(rt, "column")]
		a.do(rt, &entries[i])
		size := rapid.Uint64Range(1, 130).Draw(rt, "segment")
		report := verifyTrail(t, newArchive(entries), Options{Parallel: 2}, size)
		v := report.Verdict(Integrity)
		if v.Status != Fails || v.Total != 1 || v.Findings[0].Sequence != uint64(i) || report.Verdict(Completeness).Status != Holds {
			rt.Fatalf("%s of %d: %+v", a.name, i, report)
		}
	})
}

// Rows that are taken away, doubled and moved at will: whatever is not the
// trail or its beginning is found, and the report does not depend on how the
// trail is cut.
func TestAnyRearrangementIsFound(t *testing.T) {
	pristine := makeTrail(60)
	rapid.Check(t, func(rt *rapid.T) {
		var entries []audit.Entry
		for range rapid.IntRange(1, 3).Draw(rt, "copies") {
			keep := rapid.SliceOfN(rapid.Bool(), len(pristine), len(pristine)).Draw(rt, "keep")
			for i, k := range keep {
				if k {
					entries = append(entries, pristine[i])
				}
			}
		}
		if rapid.Bool().Draw(rt, "swap") && len(entries) > 1 {
			i, j := rapid.IntRange(0, len(entries)-1).Draw(rt, "i"), rapid.IntRange(0, len(entries)-1).Draw(rt, "j")
			entries[i].Sequence, entries[j].Sequence = entries[j].Sequence, entries[i].Sequence
		}
		src := newArchive(entries)
		whole := verifyTrail(t, src, Options{Parallel: 1}, 1000)
		if whole.Holds() != isBeginning(src.entries, pristine) {
			rt.Fatalf("holds: %v, %d entries\n%+v", whole.Holds(), len(entries), whole)
		}
		size := rapid.Uint64Range(1, 70).Draw(rt, "segment")
		cut := verifyTrail(t, src, Options{Parallel: 2}, size)
		if diff := cmp.Diff(faults(whole), faults(cut)); diff != "" {
			rt.Fatalf("segments of %d (-whole +cut):\n%s", size, diff)
		}
	})
}

// isBeginning compares what tells rows of one trail apart: their number and
// their hash.
func isBeginning(entries, pristine []audit.Entry) bool {
	for i := range entries {
		if i >= len(pristine) || entries[i].Sequence != uint64(i) || entries[i].Hash != pristine[i].Hash {
			return false
		}
	}
	return true
}
