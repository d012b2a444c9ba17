package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgwitness/pgwitness/trail"
	"github.com/pgwitness/pgwitness/verify"
)

// listedFindings is how many findings of a table are handed on; more are counted.
const listedFindings = 100

// crossCheck compares the entries of a stream with each other and with the
// audited tables, beyond what each entry says of itself, and adds what it finds
// to the verdict on completeness.
type crossCheck struct {
	stream StreamConfig
	trail  *trail.Trail
	report *verify.Report
	values bool // findings may say values, not only names of columns
	show   func(what string, done, total uint64)
}

// continuity folds the entries of every table, from the trail alone, and looks
// whether each old image is what the entries before it left.
func (c *crossCheck) continuity(ctx context.Context) error {
	if c.report.Size == 0 {
		c.report.Note(verify.Completeness, "row continuity: there is no entry")
		return nil
	}
	last := c.report.Size - 1
	review := trail.Review{Stream: c.stream.Name, Last: &last}
	tables, err := c.trail.Tables(ctx, review)
	if err != nil {
		return err
	}
	review.Progress = c.progress("row continuity", tables)
	var sum continuityCount
	for _, table := range tables {
		ok, err := c.followTable(ctx, review, table, &sum)
		if err == nil && !ok {
			late := review
			if late.First, err = c.trail.LastBaseline(ctx, review, table); err == nil && late.First > 0 {
				if ok, err = c.followTable(ctx, late, table, &sum); ok {
					sum.late++
				}
			}
		}
		if err != nil {
			return err
		}
		if !ok {
			sum.unclear = append(sum.unclear, table.String())
		}
	}
	c.report.Note(verify.Completeness, sum.words())
	if len(sum.unclear) > 0 {
		c.report.CouldNot(verify.Completeness, "row continuity of "+strings.Join(sum.unclear, ", ")+" not checked: no columns explain the resource_ids; name the key in the configuration")
	}
	return nil
}

// followTable follows the rows of one table; ok is false when its key was another
// one in between.
func (c *crossCheck) followTable(ctx context.Context, r trail.Review, table trail.Table, sum *continuityCount) (ok bool, err error) {
	if ok, err = c.learnKey(ctx, r, &table); err != nil || !ok {
		return false, err
	}
	if err := c.follow(ctx, r, table, sum); err != nil {
		if errors.Is(err, trail.ErrOtherKey) {
			return false, nil
		}
		return false, err
	}
	sum.tables++
	sum.partial += table.Partial
	return true, nil
}

// progress counts the entries of tables, most of which are read once.
func (c *crossCheck) progress(what string, tables []trail.Table) func(uint64) {
	var done, total uint64
	for _, t := range tables {
		total += t.Entries
	}
	return func(entries uint64) {
		if done += entries; c.show != nil {
			c.show(what, done, max(done, total))
		}
	}
}

// learnKey finds the key of a table. The configuration may name columns that
// are not unique; a primary key, and what replica identity rests on, is.
func (c *crossCheck) learnKey(ctx context.Context, r trail.Review, table *trail.Table, primary ...string) (bool, error) {
	var configured [][]string
	for _, t := range c.stream.Tables {
		if len(t.Key) > 0 {
			configured = append(configured, t.Key)
		}
	}
	key, ok, err := c.trail.LearnKey(ctx, r, *table, append([][]string{primary}, configured...)...)
	if err != nil || !ok {
		return false, err
	}
	table.Key = key
	asConfigured := slices.ContainsFunc(configured, func(k []string) bool { return slices.Equal(k, key) })
	table.Unique = len(key) > 0 && (!asConfigured || slices.Equal(key, primary))
	return true, nil
}

// continuityCount is what the verdict says besides its findings.
type continuityCount struct {
	tables    int
	late      uint64 // of them, from their last baseline on
	older     uint64 // changes of rows that are older than the trail
	explained uint64
	ambiguous uint64
	partial   uint64
	unclear   []string
}

func (s *continuityCount) words() string {
	return counted(fmt.Sprintf("row continuity of %d tables", s.tables),
		clause{s.late, "of them from their last baseline on, because they had another key before"},
		clause{s.explained, "explained by declared gaps and redefinitions"},
		clause{s.older, "changes of rows from before the trail"},
		clause{s.partial, "changes without an old row in the log (replica identity)"},
		clause{s.ambiguous, "changes of one of several rows without a key"})
}

// clause is a number and what it counts.
type clause struct {
	count uint64
	what  string
}

// counted adds to a sentence the clauses that count something.
func counted(sentence string, clauses ...clause) string {
	for _, c := range clauses {
		if c.count > 0 {
			sentence += fmt.Sprintf(", %d %s", c.count, c.what)
		}
	}
	return sentence
}

// follow folds one table and reports its breaks.
func (c *crossCheck) follow(ctx context.Context, r trail.Review, table trail.Table, sum *continuityCount) error {
	return c.trail.Review(ctx, r, table, func(f *trail.Fold) error {
		breaks := f.Breaks()
		sum.explained += uint64(breaks.Explained)
		sum.older += uint64(breaks.Kinds[trail.Unseen])
		sum.ambiguous += uint64(breaks.Kinds[trail.Ambiguous])
		var listed uint64
		for _, b := range breaks.First {
			if listed < listedFindings && hides(b.Kind) {
				c.report.Add(verify.Completeness, c.hidden(table, b))
				listed++
			}
		}
		var all uint64
		for kind, n := range breaks.Kinds {
			if hides(kind) {
				all += uint64(n)
			}
		}
		c.report.AddCount(verify.Completeness, all-listed)
		return nil
	})
}

// hides reports whether a break means that a change is missing in the trail.
func hides(kind trail.BreakKind) bool {
	return kind == trail.Discontinuous || kind == trail.Uninserted || kind == trail.Undeleted
}

// hidden is the finding of a break.
func (c *crossCheck) hidden(table trail.Table, b trail.Break) verify.Finding {
	f := verify.Finding{Kind: verify.HiddenChange, Sequence: b.Sequence, Table: table.String(), Key: b.Key, Columns: b.Columns}
	switch b.Kind {
	case trail.Uninserted:
		f.What = "a row is changed that no entry inserted: its insert is hidden"
	case trail.Undeleted:
		f.What = fmt.Sprintf("a row is inserted that was there already, last told of by sequence %d: its delete is hidden", b.Before)
	default:
		f.What = fmt.Sprintf("the old values are not those that sequence %d left: a change in between is hidden", b.Before)
		if c.values {
			f.Want, f.Got = valuesOf(b.Columns, b.Want), valuesOf(b.Columns, b.Got)
		}
	}
	return f
}

// valuesOf writes column=value, for those who asked to see values.
func valuesOf(columns []string, values []trail.Value) string {
	parts := make([]string, len(columns))
	for i, name := range columns {
		switch v := values[i]; v.Kind {
		case trail.Null:
			parts[i] = name + "=NULL"
		case trail.Unknown:
			parts[i] = name + "=?"
		default:
			parts[i] = fmt.Sprintf("%s=%q", name, v.Text)
		}
	}
	return strings.Join(parts, " ")
}
