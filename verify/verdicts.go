package verify

import (
	"fmt"
	"strings"
	"time"
)

func (r *run) integrity(found *findings) Verdict {
	v := Verdict{Name: Integrity, Total: found.integrity.total, Findings: found.integrity.kept}
	if r.geneses != 1 {
		v.Total++
		f := Finding{Kind: GenesisMismatch, What: "a stream has one genesis", Want: "1", Got: fmt.Sprint(r.geneses)}
		v.Findings = append([]Finding{f}, v.Findings...)
	}
	v.settle()
	if r.from > 0 {
		v.Reason = fmt.Sprintf("from sequence %d on, linked to the stored entry before it", r.from)
	}
	return v
}

func (r *run) completeness(found *findings, head *seen) Verdict {
	v := Verdict{Name: Completeness, Total: found.completeness.total, Findings: found.completeness.kept}
	switch s := r.o.Slot; {
	case s == nil:
		v.Reason = "the position of the replication slot was not compared"
	case s.Acknowledged == 0:
		v.Reason = "the position of the replication slot was not compared: none was ever acknowledged"
	case s.Confirmed > s.Acknowledged:
		f := Finding{
			Kind: SlotAhead, Want: "at most " + s.Acknowledged.String(), Got: s.Confirmed.String(),
			What: "the replication slot was advanced by somebody else: changes in between were not captured",
		}
		if head != nil {
			f.Sequence = head.sequence + 1
		}
		v.Total++
		v.Findings = append(v.Findings, f)
	}
	v.settle()
	if note := gapNote(found.gaps); note != "" {
		v.Reason = strings.TrimSuffix(note+"; "+v.Reason, "; ")
	}
	return v
}

// freshness asks for the age of the newest entry. An audited database that
// nobody writes to is stale by this measure, unless it has heartbeats.
func (r *run) freshness(head *seen) Verdict {
	v := Verdict{Name: Freshness}
	if r.o.MaxAge <= 0 {
		v.Status, v.Reason = NotChecked, "no maximum age was given"
		return v
	}
	if head == nil {
		v.Total, v.Findings = 1, []Finding{{Kind: Stale, What: "there is no entry", Want: "at most " + r.o.MaxAge.String()}}
		v.settle()
		return v
	}
	age := r.o.Now.Sub(time.UnixMicro(head.timestamp)).Round(time.Millisecond)
	v.Reason = fmt.Sprintf("newest entry is %s old", age)
	if age > r.o.MaxAge {
		v.Total, v.Findings = 1, []Finding{{
			Kind: Stale, Sequence: head.sequence, What: "the newest entry is too old",
			Want: "at most " + r.o.MaxAge.String(), Got: age.String(),
		}}
	}
	v.settle()
	return v
}

func (v *Verdict) settle() {
	v.Status = Holds
	if v.Total > 0 {
		v.Status = Fails
	}
}
