package test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/trail"
)

// replay folds the trail. A table whose key is younger than its rows is folded
// from its last baseline on, which tells of all of them, in a second run.
func (w *workload) replay(lives map[uint32]*life) {
	w.t.Helper()
	for _, l := range lives {
		l.fold = trail.NewFold("workload", strconv.Itoa(int(l.relation)), l.key)
	}
	again := make(map[uint32]*life)
	w.replayInto(lives, again, false)
	for relation, l := range again {
		l.fold, l.lost = trail.NewFold("workload", strconv.Itoa(int(relation)), l.key), 0
	}
	if len(again) > 0 {
		failed := make(map[uint32]*life)
		w.replayInto(again, failed, true)
		for _, l := range failed {
			w.t.Errorf("%s cannot be folded, neither from its beginning nor from its baseline", l.name())
		}
	}
}

// chronicle is a run through the trail: who had which name at that point.
type chronicle struct {
	lives   map[uint32]*life
	failed  map[uint32]*life // whose entries do not fit their key
	names   map[string]uint32
	waiting map[string][]*audit.Entry // of a table that the history has not told of yet
	late    bool                      // a table begins with its last baseline
}

func (w *workload) replayInto(lives, failed map[uint32]*life, late bool) {
	w.t.Helper()
	server, err := w.s.cfg.ClickHouse.Reader()
	if err != nil {
		w.t.Fatal(err)
	}
	c := chronicle{lives: lives, failed: failed, names: map[string]uint32{}, waiting: map[string][]*audit.Entry{}, late: late}
	for e, err := range trail.New(server).Entries(context.Background(), trail.Filter{Stream: "workload", Limit: -1}) {
		if err != nil {
			w.t.Fatal(err)
		}
		name := e.SchemaName.String() + "." + e.TableName.String()
		switch operation := e.Operation.String(); {
		case name == "workload.history" && operation == "insert":
			if err := c.step(e); err != nil {
				w.t.Fatal(err)
			}
		case name == "workload.history": // its baseline
		case operation == "ddl":
			if err := c.redefined(e); err != nil {
				w.t.Fatal(err)
			}
		case e.ResourceType.String() == "pgwitness.baseline":
			c.note(name, e)
		case slices.Contains([]string{"insert", "update", "delete", "truncate", "baseline"}, operation):
			c.change(name, e)
		}
	}
	for name, entries := range c.waiting {
		w.t.Errorf("%d entries of %s, which does not exist at that point", len(entries), name)
	}
}

// change applies an entry to the table that has that name by now.
func (c *chronicle) change(name string, e *audit.Entry) {
	relation, ok := c.names[name]
	if !ok && strings.HasPrefix(name, "pg_catalog.") {
		return // a table that was moved there; the history does not look there
	}
	if !ok {
		kept := store.Clone(e)
		c.waiting[name] = append(c.waiting[name], &kept)
		return
	}
	if l := c.lives[relation]; l != nil {
		c.apply(l, *e)
	}
}

// apply applies an entry to a table, under the name that its fold has.
func (c *chronicle) apply(l *life, e audit.Entry) {
	if c.failed[l.relation] != nil || c.late && e.Sequence < l.baseline {
		return
	}
	e.SchemaName, e.TableName = audit.T("workload"), audit.T(strconv.Itoa(int(l.relation)))
	if l.fold.Add(&e) != nil {
		c.failed[l.relation] = l
	}
}

// note applies an entry that frames a baseline. One may come late, of a table
// that is gone.
func (c *chronicle) note(name string, e *audit.Entry) {
	l := c.lives[c.names[name]]
	if l == nil {
		return
	}
	if !c.late && e.Action.String() == "baseline_started" {
		l.baseline = e.Sequence
	}
	c.apply(l, *e)
}

// redefined applies an entry about DDL to the table that it is about: what it says
// of the columns, and not of the name, which the fold does not know.
func (c *chronicle) redefined(e *audit.Entry) error {
	details := make(map[string]json.RawMessage)
	if err := json.Unmarshal(e.NewValues, &details); err != nil {
		return err
	}
	var called, before, lost []string
	for key, into := range map[string]*[]string{"table": &called, "renamed_from": &before, "unknown_values": &lost} {
		if text, ok := details[key]; ok {
			if err := json.Unmarshal(text, into); err != nil {
				return err
			}
		}
	}
	if before != nil {
		called = before
	}
	l := c.lives[c.names[strings.Join(called, ".")]]
	if l == nil {
		return nil
	}
	if len(lost) > 0 {
		l.lost++
	}
	for _, key := range []string{"renamed_from", "type", "object"} {
		delete(details, key)
	}
	details["table"] = json.RawMessage(fmt.Sprintf(`["workload","%d"]`, l.relation))
	text, err := json.Marshal(details)
	if err != nil {
		return err
	}
	applied := *e
	applied.NewValues = text
	c.apply(l, applied)
	return nil
}

// step reads one row of the history.
func (c *chronicle) step(e *audit.Entry) error {
	row, err := trail.ParseRow(e.NewValues)
	if err != nil {
		return err
	}
	get := func(column string) string { return row.Get(column).Text }
	number, err := strconv.ParseUint(get("relation"), 10, 32)
	if err != nil {
		return err
	}
	relation, name := uint32(number), get("schema")+"."+get("name")
	switch what := get("what"); {
	case what == "begins":
		c.names[name] = relation
		for _, kept := range c.waiting[name] {
			c.change(name, kept)
		}
		delete(c.waiting, name)
	case what == "ends" && c.names[name] == relation:
		delete(c.names, name)
	}
	return nil
}
