package pgwitness

import (
	"cmp"
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/verify"
)

const (
	// recordTimeout limits what a reading verb waits for the audited database:
	// the trail must be readable also while that is away.
	recordTimeout = 5 * time.Second
	// trailResource is the resource_type of the entries about reads of a trail.
	trailResource = "pgwitness.trail"
)

// readEvent is the entry read, or export where programs read the output. It is
// written before anything is shown, so that nothing is seen unrecorded; how many
// entries were shown is therefore not in it.
type readEvent struct {
	Verb  string            `json:"verb"`
	Asked map[string]string `json:"asked,omitempty"`
	Reads string            `json:"reads_as,omitempty"` // user of ClickHouse
	Host  string            `json:"host,omitempty"`
}

// verifyEvent is the entry verify.
type verifyEvent struct {
	Holds    bool              `json:"holds"`
	Verdicts map[string]string `json:"verdicts,omitempty"`
	Findings uint64            `json:"findings"`
	// Complete is false when a part of what was asked could not be checked.
	Complete   bool    `json:"complete"`
	From       uint64  `json:"from"` // first sequence that was asked for
	Size       uint64  `json:"size"` // of the chain: highest sequence + 1
	Head       string  `json:"head,omitempty"`
	Checked    uint64  `json:"checked"`
	Continuity bool    `json:"continuity"`
	Reconcile  bool    `json:"reconcile"`
	Seconds    float64 `json:"seconds"`
	Host       string  `json:"host,omitempty"`
}

// recordRead leaves an entry in each stream that is about to be read.
func (w *Witness) recordRead(ctx context.Context, stream, verb string, machine bool, asked map[string]string) {
	streams, err := w.streamsNamed(stream)
	if w.Operator == "" || err != nil { // the verb itself tells of a wrong name
		return
	}
	e := readEvent{Verb: verb, Asked: asked}
	if server, err := w.cfg.ClickHouse.Reader(); err == nil {
		e.Reads = server.User
	}
	e.Host, _ = os.Hostname() // an entry without it is better than none
	action := "read"
	if machine {
		action = "export"
	}
	for _, s := range streams {
		w.record(ctx, s, act{action: action, resourceType: trailResource, resourceID: s.Name, actor: w.Operator, details: e})
	}
}

// recordVerify leaves an entry about a verification, whatever came out of it.
func (w *Witness) recordVerify(ctx context.Context, s StreamConfig, q VerifyQuery, r Report, failed error) {
	if w.Operator == "" {
		return
	}
	e := verifyEvent{
		Holds: r.Stream != "" && r.Holds(), Complete: failed == nil, From: r.From, Size: r.Size, Head: r.Head, Checked: r.Checked,
		Continuity: q.Continuity, Reconcile: q.Reconcile, Seconds: r.Elapsed.Seconds(), Verdicts: make(map[string]string),
	}
	for _, v := range r.Verdicts {
		e.Verdicts[v.Name] = string(v.Status)
		if v.Status == verify.Fails {
			e.Findings += v.Total
		}
	}
	e.Host, _ = os.Hostname() // an entry without it is better than none
	w.record(ctx, s, act{action: "verify", resourceType: streamResource, resourceID: s.Name, actor: w.Operator, details: e})
}

// record writes an act of a verb that only reads. It goes the way of every
// event, through the audited database, so whoever reads needs a DSN for that,
// and no right but to call pgwitness.event(). Where it cannot be written, that is
// a warning: the auditor who has no access there must be able to read, too.
func (w *Witness) record(ctx context.Context, s StreamConfig, a act) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	t, err := connectTenure(ctx, s, "pgwitness reader", w.log)
	if err == nil {
		defer t.close()
		_, err = t.write(ctx, a)
	}
	if err != nil {
		w.log.Warn().Err(err).Str("stream", s.Name).Str("action", a.action).
			Str("hint", "the DSN of the audited database must lead to a role that may call pgwitness.event()").Msg("not recorded in the trail")
	}
}

// askedOf says in words what a trail is asked for.
func askedOf(q TrailQuery) map[string]string {
	asked := map[string]string{
		"type": q.ResourceType, "id": q.ResourceID, "actor": q.Actor, "actor_type": q.ActorType, "action": q.Action,
		"table": q.Table, "column": q.Column, "reason": q.Reason, "since": momentOf(q.Since), "until": momentOf(q.Until),
	}
	if q.NoReason {
		asked["no_reason"] = "true"
	}
	if q.Limit > 0 {
		asked["limit"] = strconv.Itoa(q.Limit)
	}
	return spoken(asked)
}

// momentOf is a moment in words, "" for none.
func momentOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return moment(t)
}

// spoken leaves out what was not asked. The trail keeps what it is given for
// ever, so an address of e-mail is told as such and not repeated.
func spoken(asked map[string]string) map[string]string {
	for key, text := range asked {
		switch {
		case text == "":
			delete(asked, key)
		case strings.Contains(text, "@"):
			asked[key] = "an e-mail address"
		}
	}
	return asked
}

// operatorVariable names who runs the program where the user of the operating
// system says too little: a person behind a shared account, cron:nightly-verify.
const operatorVariable = "PGWITNESS_OPERATOR"

// Operator is who runs this process.
func Operator() string { return cmp.Or(os.Getenv(operatorVariable), osUser()) }
