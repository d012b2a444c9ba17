package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/audit"
)

type trailCmd struct {
	streamFlag
	jsonFlag
	Type string `arg:"" optional:"" help:"Resource type, such as order."`
	ID   string `arg:"" optional:"" help:"Resource id, such as 1234; parts of a composite key are joined by /."`

	Actor     string `help:"Only entries of this actor: id or e-mail."`
	ActorType string `help:"Only entries of human, api, system, cron or unknown actors."`
	Action    string `help:"Only this action, such as refund."`
	Table     string `help:"Only this table, such as orders or sales.orders."`
	Column    string `help:"Only updates that changed this column."`
	Since     string `help:"From this time on: 2026-11-23, 2026-11-23T08:00:00Z, 2h, 3 days ago, yesterday."`
	Until     string `help:"Up to this time."`
	Reason    string `help:"Only entries with this reason code."`
	NoReason  bool   `help:"Only changes for which no reason was given."`
	Newest    bool   `help:"Newest first."`
	Limit     int    `default:"1000" help:"At most so many entries, the newest; 0 for all."`
	Open      bool   `help:"Show personal values instead of tokens, as far as clickhouse.vault_dsn may read them."`
	Explain   bool   `help:"Add who says so, and the place in the log and in the chain."`
}

func (c *trailCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	q, err := c.query(time.Now())
	if err != nil {
		return err
	}
	out := bufio.NewWriter(e.stdout)
	defer out.Flush()
	style := pgwitness.TrailStyle{Color: isTerminal(e.stdout), Explain: c.Explain, JSON: c.JSON, Open: c.Open}
	n, more, err := w.Trail(ctx, q, style, out)
	if err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("print trail: %w", err)
	}
	switch {
	case n == 0:
		fmt.Fprintln(e.stderr, "no entry matches")
	case more:
		fmt.Fprintf(e.stderr, "the newest %d entries; --limit shows more\n", n)
	}
	return nil
}

func (c *trailCmd) query(now time.Time) (pgwitness.TrailQuery, error) {
	q := pgwitness.TrailQuery{
		Stream: c.Stream, ResourceType: c.Type, ResourceID: c.ID, Actor: c.Actor, ActorType: c.ActorType,
		Action: c.Action, Table: c.Table, Column: c.Column, Reason: c.Reason, NoReason: c.NoReason,
		Newest: c.Newest, Limit: c.Limit,
	}
	if c.Limit == 0 {
		q.Limit = -1
	}
	var errs []error
	if c.Since != "" {
		m, err := pgwitness.ParseMoment(c.Since, now)
		q.Since, errs = m.From, append(errs, flagError("since", err))
	}
	if c.Until != "" {
		m, err := pgwitness.ParseMoment(c.Until, now)
		q.Until, errs = m.To, append(errs, flagError("until", err))
	}
	return q, errors.Join(errs...)
}

// flagError makes a wrong value of a flag an error of the command line.
func flagError(flag string, err error) error {
	if err == nil {
		return nil
	}
	return audit.WithHint(fmt.Errorf("%w: --%s: %w", errUsage, flag, err), audit.Hint(err))
}

type stateCmd struct {
	streamFlag
	jsonFlag
	Type string `arg:"" help:"Resource type, such as order."`
	ID   string `arg:"" help:"Resource id, such as 1234."`
	Open bool   `help:"Show personal values instead of tokens, as far as clickhouse.vault_dsn may read them."`
	At   string `default:"now" help:"The moment: 2026-11-23T08:00:00Z, 2h, yesterday, … (${default})."`
}

func (c *stateCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	m, err := pgwitness.ParseMoment(c.At, time.Now())
	if err != nil {
		return flagError("at", err)
	}
	return w.State(ctx, pgwitness.StateQuery{Stream: c.Stream, Type: c.Type, ID: c.ID, At: m.To, JSON: c.JSON, Color: isTerminal(e.stdout), Open: c.Open}, e.stdout)
}

type verifyCmd struct {
	streamFlag
	jsonFlag
	Full   bool          `xor:"extent" help:"The whole chain, from the genesis on. This is the default."`
	Tail   uint64        `xor:"extent" placeholder:"N" help:"Only the last N entries, linked to the one before them."`
	MaxAge time.Duration `help:"Fail when the newest entry is older, such as 1h."`

	Continuity bool `help:"Also follow every row through the trail: an old row that is not what the entries before it left shows a hidden change."`
	Reconcile  bool `help:"Also compare the trail with the audited tables as they are now. A sidecar must be running."`
	Values     bool `help:"Print values of rows in findings, not only names of columns."`
}

func (c *verifyCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	q := pgwitness.VerifyQuery{
		Stream: c.Stream, Tail: c.Tail, MaxAge: c.MaxAge,
		Continuity: c.Continuity, Reconcile: c.Reconcile, Values: c.Values,
	}
	reports, err := w.Verify(ctx, q, c.show(e))
	progress(e.stderr, "")
	if printed := c.print(e, reports); printed != nil {
		return errors.Join(err, printed)
	}
	for _, r := range reports {
		if r.Holds() {
			continue
		}
		// What fails outweighs what could not be checked.
		if err != nil {
			report(e.stderr, err)
		}
		return silentError{exitTampered}
	}
	return err
}

// show renders progress with the rate of the step at hand.
func (c *verifyCmd) show(e *env) func(what string, done, total uint64) {
	began, step := time.Now(), ""
	return func(what string, done, total uint64) {
		if what != step {
			began, step = time.Now(), what
		}
		if total == 0 {
			progress(e.stderr, "%s (%s)", what, time.Since(began).Round(time.Second))
			return
		}
		rate := float64(done) / max(0.001, time.Since(began).Seconds())
		progress(e.stderr, "%s: %d of %d entries (%.0f/s)", what, done, total, rate)
	}
}

func (c *verifyCmd) print(e *env, reports []pgwitness.Report) error {
	if len(reports) == 0 {
		return nil
	}
	if c.JSON {
		return printJSON(e.stdout, reports)
	}
	var errs []error
	for _, r := range reports {
		errs = append(errs, r.WriteText(e.stdout))
	}
	return errors.Join(errs...)
}
