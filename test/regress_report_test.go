package test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// suiteReport is what docs/regression-suite.md tells.
type suiteReport struct {
	version         string // of the server
	files           []ranFile
	trigger         functionCost
	stumbled        int
	changes, tables int64 // committed changes, and tables that had some
	entries         uint64
	live, exact     int // published tables at the end; those whose fold was exact
	rows            int
	reread          []string // tables that a command gave values that are in no log
	unknown         []string // where the trail says that it does not know
	unpublished     []string
	wrong           []string
	verdicts        []string // of pgwitness verify
	baselines       string
	ddl, lost       string // entries of DDL; those that say that values are unknown
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

Written by `+"`make test-regress`"+`; edits are lost. The SQL files of src/test/regress run by psql, one after the other, against PostgreSQL %s set up by `+"`pgwitness setup`"+` for
`+"`tables: [{name: \"*.*\"}]`"+`, with the sidecar beside it: its own event triggers follow the tables that the suite makes, from their first row on, and its baseline reads again what DDL
wrote anew ([ddl.md](ddl.md#values-that-are-in-no-log)). What the statements answer is not judged. Afterwards the changes in the trail are counted by table against PostgreSQL's own decoding of a second slot, tables that are gone included, and the trail is folded, through
every CREATE, DROP, RENAME and ALTER, and compared with every published table that is there. No row is written by the test.

| | |
|---|---|
| files that ran to their end | %d of %d, in %s |
| of them without an error that the suite does not ask for | %d |
| committed changes = entries | %d, of %d tables |
| entries in all, chain verified | %d |
| entries of DDL, of which say that values are unknown | %s, %s |
| baselines | %s |
| published tables at the end | %d, with %d rows |
| their fold is the table, to the last value | %d; %d say themselves what they do not know; %d wrong |
| interruptions of the stream | %d |
| the event triggers | %d calls, %s of the server's time, %s each |

`, r.version, ran, len(r.files), took.Round(time.Second), whole, r.changes, r.tables, r.entries, r.ddl, r.lost, r.baselines,
		r.live, r.rows, r.exact, len(r.unknown), len(r.wrong), r.stumbled, r.trigger.calls, r.trigger.took.Round(time.Second), r.trigger.each())
	fmt.Fprint(&b, "`pgwitness verify --full --continuity --reconcile` at the end:\n\n")
	for _, v := range r.verdicts {
		fmt.Fprintf(&b, "- %s\n", v)
	}
	r.writeFiles(&b)
	r.writeTables(&b)
	return b.Bytes()
}

// each is the mean of a call.
func (c functionCost) each() time.Duration {
	return (c.took / time.Duration(max(c.calls, 1))).Round(10 * time.Microsecond)
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
	fmt.Fprintf(b, "\n## Tables that DDL gave other values\n\nOf these the entry of a command says that values are unknown; by their new baseline the fold is the table again: %s.\n", list(r.reread))
	fmt.Fprintf(b, "\n## Tables that are not published\n\nWith a virtual generated column a table needs a primary key: PostgreSQL refuses UPDATE and DELETE of a published table that has only REPLICA IDENTITY FULL then. Without one it is not followed, and an entry says so: %s.\n", list(r.unpublished))
	if len(r.unknown) > 0 {
		fmt.Fprint(b, "\n## Where the trail says that it does not know\n\n")
	}
	for _, u := range r.unknown {
		fmt.Fprintf(b, "- %s\n", u)
	}
	for _, wrong := range r.wrong {
		fmt.Fprintf(b, "\n**Wrong:** %s\n", wrong)
	}
}

// list joins names.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
