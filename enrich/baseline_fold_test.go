package enrich

import (
	"encoding/json"
	"maps"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgwitness/pgwitness/audit"
)

// compare folds the entries.
func (m *model) compare() {
	want := make(map[string]int)
	for _, r := range m.rows(func(tx *modelTx) bool { return true }) {
		want[r.id+" "+r.v+" "+r.big]++
	}
	var got map[string]int
	if m.keyed {
		got = m.foldKeyed()
	} else {
		got = m.foldBag()
	}
	if d := cmp.Diff(want, got); d != "" {
		m.t.Fatalf("the fold (+) is not the table (-):\n%s", d)
	}
}

func values(t *rapid.T, text audit.Text) map[string]string {
	v := make(map[string]string)
	if text == nil {
		return v
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (m *model) foldKeyed() map[string]int {
	table := make(map[string]map[string]string)
	baselines := make(map[string]int)
	for i := range m.entries {
		e := &m.entries[i]
		old, now := values(m.t, e.OldValues), values(m.t, e.NewValues)
		switch e.Operation.String() {
		case "truncate":
			clear(table)
		case "delete":
			delete(table, old["id"])
		case "insert":
			table[now["id"]] = now
		case "baseline":
			baselines[now["id"]]++
			if table[now["id"]] == nil {
				table[now["id"]] = make(map[string]string)
			}
			maps.Copy(table[now["id"]], now) // a large value that is not in the log may be known
		case "update":
			before := now["id"]
			if id, ok := old["id"]; ok {
				before = id
			}
			r := table[before]
			if r == nil {
				r = make(map[string]string)
			}
			delete(table, before)
			maps.Copy(r, now)
			table[now["id"]] = r
		}
	}
	got := make(map[string]int)
	for _, r := range table {
		got[r["id"]+" "+r["v"]+" "+r["big"]]++
	}
	m.onceEach(baselines)
	return got
}

// onceEach checks that every row that nobody touched has one baseline entry, and
// none has two.
func (m *model) onceEach(baselines map[string]int) {
	touched := make(map[string]bool)
	for _, tx := range m.commits {
		for _, op := range tx.ops {
			if op.old == nil && op.now == nil {
				return // all of them
			}
			for _, r := range []*modelRow{op.old, op.now} {
				if r != nil {
					touched[r.id] = true
				}
			}
		}
	}
	for _, r := range m.origin {
		if baselines[r.id] != 1 && !touched[r.id] {
			m.t.Fatalf("row %s has %d baseline entries", r.id, baselines[r.id])
		}
	}
	for id, n := range baselines {
		if n > 1 {
			m.t.Fatalf("row %s has %d baseline entries", id, n)
		}
	}
}

func (m *model) foldBag() map[string]int {
	bag := make(map[string]int)
	text := func(v map[string]string) string { return v["id"] + " " + v["v"] + " " + v["big"] }
	take := func(row string) {
		if bag[row]--; bag[row] <= 0 {
			delete(bag, row)
		}
	}
	for i := range m.entries {
		e := &m.entries[i]
		if e.Action.String() == "baseline_started" {
			clear(bag)
			continue
		}
		old, now := values(m.t, e.OldValues), values(m.t, e.NewValues)
		switch e.Operation.String() {
		case "truncate":
			clear(bag)
		case "delete":
			take(text(old))
		case "insert", "baseline":
			bag[text(now)]++
		case "update":
			take(text(old))
			bag[text(now)]++
		}
	}
	return bag
}
