package verify

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// Status is what a verdict says.
type Status string

// The three answers. An unread page is neither true nor false.
const (
	Holds      Status = "holds"
	Fails      Status = "fails"
	NotChecked Status = "not_checked"
)

// The names of the verdicts, which are never mixed.
const (
	Integrity    = "integrity"    // every hash from its columns, every link from its predecessor
	Completeness = "completeness" // nothing missing, doubled or out of place
	Freshness    = "freshness"    // the newest entry is young enough
	Anchoring    = "anchoring"    // checkpoints kept elsewhere agree
	Openings     = "openings"     // every token opens, or has an erasure record
)

// Kind is the stable name of what a Finding is about.
type Kind string

// The kinds of findings.
const (
	ContentAltered   Kind = "content_altered"    // the columns do not give the entry hash
	EntryHashAltered Kind = "entry_hash_altered" // the columns give what the successor is linked to, entry_hash is another
	PrevHashAltered  Kind = "prev_hash_altered"  // with the hash of the predecessor the entry is right
	Swapped          Kind = "swapped"            // the entry is the one of another sequence
	LinkBroken       Kind = "link_broken"        // the entry is sound, and linked to another predecessor
	GenesisMismatch  Kind = "genesis_mismatch"   // the first entry is linked to another genesis
	Missing          Kind = "missing"            // sequences that do not exist
	Duplicate        Kind = "duplicate"          // a sequence that exists more than once
	OutOfOrder       Kind = "out_of_order"       // the log position does not lie behind that of the predecessor
	OrdinalHole      Kind = "ordinal_hole"       // a change of the transaction was left out before sealing
	WrongID          Kind = "wrong_id"           // the id is not that of the log position
	SlotAhead        Kind = "slot_ahead"         // the slot was advanced by somebody else
	Stale            Kind = "stale"              // the newest entry is too old
	OpeningMismatch  Kind = "opening_mismatch"   // key and clear value of the vault do not give the token
	OpeningMissing   Kind = "opening_missing"    // the vault has no opening of a token, or no key, and no erasure is recorded

	// Found by comparing entries with each other, and with the audited tables.
	HiddenChange Kind = "hidden_change" // a row is not the one that the entries before it left
	RowMissing   Kind = "row_missing"   // the table has a row that the trail does not have
	RowExtra     Kind = "row_extra"     // the trail has a row that the table does not have
	RowDifferent Kind = "row_different" // both have a row, with other values
)

// Finding is one thing that is wrong with a trail.
type Finding struct {
	Kind     Kind   `json:"kind"`
	Sequence uint64 `json:"sequence"`        // of the entry, or of the first missing one
	Until    uint64 `json:"until,omitempty"` // of the last missing one
	What     string `json:"what"`            // one sentence
	Want     string `json:"want,omitempty"`
	Got      string `json:"got,omitempty"`

	// Of findings about rows: the table with its schema, the resource_id ("" in
	// a table without a key), and the columns that are not what they should be.
	Table   string   `json:"table,omitempty"`
	Key     string   `json:"key,omitempty"`
	Columns []string `json:"columns,omitempty"`
}

// Verdict answers one question.
type Verdict struct {
	Name     string    `json:"name"`
	Status   Status    `json:"status"`
	Reason   string    `json:"reason,omitempty"` // why it was not checked, or what it rests on
	Total    uint64    `json:"total,omitempty"`  // number of findings, also of those not listed
	Findings []Finding `json:"findings,omitempty"`
}

// Report is the outcome of a verification.
type Report struct {
	Stream   string        `json:"stream"`
	Size     uint64        `json:"size"`               // highest sequence + 1
	From     uint64        `json:"from"`               // first sequence that was asked for
	Checked  uint64        `json:"checked"`            // entries whose hash was recomputed
	Head     string        `json:"head"`               // entry_hash of the highest sequence, hexadecimal; of the genesis when there is none
	Position string        `json:"position,omitempty"` // of the highest sequence in the write-ahead log
	Newest   time.Time     `json:"newest,omitzero"`    // commit time of the highest sequence
	Elapsed  time.Duration `json:"elapsed_ns"`
	Verdicts []Verdict     `json:"verdicts"`
	Gaps     []Gap         `json:"gaps,omitempty"` // that entries declare, at most 1000
}

// Verdict returns the verdict of that name; the zero Verdict for a name that
// does not exist.
func (r *Report) Verdict(name string) Verdict {
	for _, v := range r.Verdicts {
		if v.Name == name {
			return v
		}
	}
	return Verdict{}
}

// Add makes a verdict fail by one more finding, of a check that was made outside
// of this package.
func (r *Report) Add(verdict string, f Finding) {
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		if v.Name != verdict {
			continue
		}
		v.Status = Fails
		if v.Total++; len(v.Findings) < maxFindings {
			v.Findings = append(v.Findings, f)
		}
	}
}

// AddCount makes a verdict fail by n findings that are not listed.
func (r *Report) AddCount(verdict string, n uint64) {
	for i := range r.Verdicts {
		if v := &r.Verdicts[i]; v.Name == verdict && n > 0 {
			v.Status = Fails
			v.Total += n
		}
	}
}

// Note adds to a verdict what it rests on, or what was left out.
func (r *Report) Note(verdict, text string) {
	for i := range r.Verdicts {
		if v := &r.Verdicts[i]; v.Name == verdict {
			v.Reason = strings.TrimPrefix(v.Reason+"; "+text, "; ")
		}
	}
}

// CouldNot says that something a verdict was asked to rest on was not checked:
// it does not hold, and does not fail by that.
func (r *Report) CouldNot(verdict, reason string) {
	for i := range r.Verdicts {
		if v := &r.Verdicts[i]; v.Name == verdict && v.Status == Holds {
			v.Status = NotChecked
		}
	}
	r.Note(verdict, reason)
}

// Holds reports whether no verdict fails.
func (r *Report) Holds() bool { return r.Err() == nil }

// Err is nil, or a *BrokenError that names the first failure.
func (r *Report) Err() error {
	for _, v := range r.Verdicts {
		if v.Status != Fails {
			continue
		}
		e := &BrokenError{Stream: r.Stream, Verdict: v.Name}
		if len(v.Findings) > 0 {
			e.Finding = v.Findings[0]
		}
		return e
	}
	return nil
}

// BrokenError says that a trail was read and does not hold.
type BrokenError struct {
	Stream  string
	Verdict string
	Finding Finding // the first of the verdict
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("verify stream %s: %s fails at sequence %d: %s", e.Stream, e.Verdict, e.Finding.Sequence, e.Finding.What)
}

// Hint is for the operator who reads the error.
func (e *BrokenError) Hint() string {
	return "keep the table as it is, it is evidence; who wrote to it: SELECT event_time, user, query FROM system.query_log WHERE has(tables, 'pgwitness.audit_logs') AND query_kind NOT IN ('Select')"
}

// Unwrap makes the error stop what writes to the stream.
func (e *BrokenError) Unwrap() error { return audit.ErrNeedsHuman }

func (r *Report) setHead(head *seen) {
	r.Size = head.sequence + 1
	r.Head = head.hash.String()
	r.Position = head.position.String()
	r.Newest = time.UnixMicro(head.timestamp).UTC()
}

// WriteText renders the report for a person.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "stream %s: %d entries, checked %d from sequence %d in %s\n", r.Stream, r.Size, r.Checked, r.From, r.Elapsed.Round(time.Millisecond))
	fmt.Fprintf(&b, "head   %s\n", r.Head)
	for _, v := range r.Verdicts {
		v.writeText(&b)
		if v.Name == Completeness {
			for i := range r.Gaps {
				r.Gaps[i].writeText(&b)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (v *Verdict) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "%-13s %s", v.Name, strings.ToUpper(strings.ReplaceAll(string(v.Status), "_", " ")))
	if v.Reason != "" {
		fmt.Fprintf(b, " (%s)", v.Reason)
	}
	b.WriteByte('\n')
	for _, f := range v.Findings {
		fmt.Fprintf(b, "  %s\n", f.text())
		if f.Want != "" || f.Got != "" {
			fmt.Fprintf(b, "    want %s\n    got  %s\n", printable(f.Want), printable(f.Got))
		}
	}
	if more := v.Total - uint64(len(v.Findings)); more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}

// text is one line: where, what, and for a row which one. Names and keys were
// chosen by others.
func (f *Finding) text() string {
	if f.Table == "" {
		return "sequence " + f.sequences() + ": " + printable(f.What)
	}
	line := fmt.Sprintf("%s %s: %s", printable(f.Table), printable(f.Key), f.What)
	if f.Key == "" {
		line = printable(f.Table) + ": " + f.What
	}
	if len(f.Columns) > 0 {
		line += " (" + printable(strings.Join(f.Columns, ", ")) + ")"
	}
	if f.Kind == RowMissing {
		return line
	}
	return "sequence " + f.sequences() + ": " + line
}

// sequences is one number or a range.
func (f *Finding) sequences() string {
	if f.Kind == Missing && f.Until != f.Sequence {
		return fmt.Sprintf("%d to %d", f.Sequence, f.Until)
	}
	return fmt.Sprint(f.Sequence)
}
