package test

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// suiteReport is what docs/regression-suite.md tells.
type suiteReport struct {
	version         string // of the server
	files           []ranFile
	changes, tables int64 // committed changes, and tables that had some
	entries         uint64
	live, exact     int // tables at the end; those whose fold was exact at once
	rows            int
	rewritten       []rewrittenTable
	wrong           []string
}

// rewrittenTable is a table that DDL gave other values than the log has.
type rewrittenTable struct {
	name    string
	altered []string
	before  string
	refused string // why its rows could not be written again
}

func (r *suiteReport) markdown() []byte {
	var b bytes.Buffer
	ran, whole, took := 0, 0, time.Duration(0)
	for _, f := range r.files {
		took += f.took
		if f.problem == "" {
			ran++
		}
		if f.problem == "" && len(f.others) == 0 {
			whole++
		}
	}
	fmt.Fprintf(&b, `# PostgreSQL's own regression suite as a workload

Written by `+"`make test-regress`"+`; edits are lost. The SQL files of src/test/regress run by psql, one after the other, against PostgreSQL %s, whose tables are all
published from their first row on, with the sidecar beside it. What the statements answer is not judged. Afterwards the changes in the trail are counted by table against PostgreSQL's own
decoding of a second slot, tables that are gone included, and the trail is folded, through every CREATE, DROP, RENAME and ALTER, and compared with every table that is there.

| | |
|---|---|
| files that ran to their end | %d of %d, in %s |
| of them without an error that the suite does not ask for | %d |
| committed changes = entries | %d, of %d tables |
| entries in all, chain verified | %d |
| tables at the end | %d, with %d rows |
| their fold is the table, to the last value | %d at once, %d after their rows were written again, %d not |
| interruptions of the stream | 0 |
`, r.version, ran, len(r.files), took.Round(time.Second), whole, r.changes, r.tables, r.entries, r.live, r.rows, r.exact, len(r.rewritten)-r.refusals(), len(r.wrong)+r.refusals())
	r.writeFiles(&b)
	r.writeTables(&b)
	return b.Bytes()
}

func (r *suiteReport) refusals() (n int) {
	for _, t := range r.rewritten {
		if t.refused != "" {
			n++
		}
	}
	return n
}

func (r *suiteReport) writeFiles(b *bytes.Buffer) {
	fmt.Fprint(b, "\n## Files that could not run, or only in part\n\nErrors that the expected output of the suite does not have, and the first of them. Statements that failed changed nothing, there and in the trail.\n\n| file | errors | first of them, or why it did not end |\n|---|---|---|\n")
	for _, f := range r.files {
		if f.problem == "" && len(f.others) == 0 {
			continue
		}
		first := f.problem
		if first == "" {
			first = "`" + strings.NewReplacer("|", "\\|", "`", "'").Replace(f.others[0]) + "`"
		}
		fmt.Fprintf(b, "| %s | %d | %s |\n", f.name, len(f.others), first)
	}
}

func (r *suiteReport) writeTables(b *bytes.Buffer) {
	fmt.Fprint(b, "\n## Tables that DDL gave other values\n\nADD COLUMN with a default, ALTER TYPE and their like change rows without a row in the log: the fold cannot know. After their rows were written again, each is the table, but for those that refuse it (a table with virtual columns, whose old rows the server cannot log).\n\n| table | by | what differed |\n|---|---|---|\n")
	slices.SortFunc(r.rewritten, func(x, y rewrittenTable) int { return cmp.Compare(x.name, y.name) })
	for _, t := range r.rewritten {
		what, _, _ := strings.Cut(t.before, "; first")
		if t.refused != "" {
			what += "; its rows could not be written again: " + t.refused
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", t.name, strings.Join(slices.Compact(slices.Clone(t.altered)), ", "), what)
	}
	for _, wrong := range r.wrong {
		fmt.Fprintf(b, "\n**Wrong:** %s\n", wrong)
	}
}
