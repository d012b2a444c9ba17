package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/audit"
)

type checkCmd struct{ jsonFlag }

func (c *checkCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	findings, err := w.Check(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(e.stdout, findings); err != nil {
			return err
		}
	} else {
		printFindings(e.stdout, findings)
	}
	for _, f := range findings {
		if f.Severity == audit.Failure {
			return silentError{exitFindings}
		}
	}
	return nil
}

// printFindings lists findings, each with its fix.
func printFindings(w io.Writer, findings []audit.Finding) {
	counts := make(map[audit.Severity]int)
	for _, f := range findings {
		counts[f.Severity]++
		subject := ""
		if f.Subject != "" {
			subject = " " + f.Subject
		}
		fmt.Fprintf(w, "%-7s  %s%s: %s\n", f.Severity, f.Check, subject, f.Message)
		if f.Fix != "" {
			fmt.Fprintf(w, "         fix: %s\n", f.Fix)
		}
	}
	fmt.Fprintf(w, "\n%d failures, %d warnings, %d to know, %d ok\n",
		counts[audit.Failure], counts[audit.Warning], counts[audit.Info], counts[audit.OK])
}

type setupCmd struct {
	PrintSQL bool `name:"print-sql" help:"Print the statements for PostgreSQL that are still needed, and change nothing."`
}

func (c *setupCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	if c.PrintSQL {
		return w.PrintSetup(ctx, e.stdout)
	}
	return w.Setup(ctx, e.stdout)
}

type teardownCmd struct{}

func (c *teardownCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	return w.Teardown(ctx, e.stdout)
}

type runCmd struct {
	Setup   bool   `help:"Do what setup does first."`
	Profile string `placeholder:"FOLDER" help:"Leave profiles of processor time and allocations in this folder at the end."`
}

func (c *runCmd) Run(ctx context.Context, e *env) error {
	if c.Profile != "" {
		return profiled(c.Profile, func() error { return c.run(ctx, e) })
	}
	return c.run(ctx, e)
}

func (c *runCmd) run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(w.MemoryGoal())
	}
	if c.Setup {
		return w.SetupAndRun(ctx, e.stdout)
	}
	return w.Run(ctx)
}

type resumeCmd struct {
	Stream    string `help:"Stream; every one that needs it if not given."`
	AcceptGap bool   `help:"Record the gap and go on behind it. Without it, only say what is missing."`
	Reason    string `help:"Why changes are missing; becomes part of the entry."`
	Operator  string `help:"Who accepts the gap, such as an e-mail address; the user of the operating system if not given."`
	Baseline  bool   `help:"Read all rows of all tables again behind the gap."`
	FromNow   bool   `help:"Give up what the slot still holds, for a log that cannot be decoded."`
}

func (c *resumeCmd) Run(ctx context.Context, e *env) error {
	if c.FromNow && c.Stream == "" {
		return audit.WithHint(fmt.Errorf("%w: --from-now without --stream", errUsage), "name the one stream whose log is to be given up")
	}
	w, err := e.witness()
	if err != nil {
		return err
	}
	o := pgwitness.ResumeOptions{Stream: c.Stream, Accept: c.AcceptGap, Baseline: c.Baseline, FromNow: c.FromNow, Reason: c.Reason, Operator: c.Operator}
	return w.Resume(ctx, o, e.stdout)
}

type acknowledgeCmd struct {
	Stream   string `help:"Stream; every one with alarms if not given."`
	Reason   string `help:"What was found out; becomes part of the entry."`
	Operator string `help:"Who looked at it, such as an e-mail address; the user of the operating system if not given."`
}

func (c *acknowledgeCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	return w.Acknowledge(ctx, pgwitness.AcknowledgeOptions{Stream: c.Stream, Reason: c.Reason, Operator: c.Operator}, e.stdout)
}

type healthCmd struct{}

func (c *healthCmd) Run(ctx context.Context, e *env) error {
	cfg, err := pgwitness.LoadConfig(e.Config)
	if err != nil {
		return err
	}
	return pgwitness.Health(ctx, cfg)
}

type statusCmd struct{ jsonFlag }

func (c *statusCmd) Run(ctx context.Context, e *env) error {
	w, err := e.witness()
	if err != nil {
		return err
	}
	statuses, err := w.Status(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.stdout, statuses)
	}
	code := exitOK
	for _, s := range statuses {
		if !c.JSON {
			s.WriteText(e.stdout)
		}
		switch {
		case s.NeedsHuman:
			code = exitNeedsHuman
		case s.Alarms > 0 && code == exitOK:
			code = exitAlarm
		}
	}
	if err == nil && code != exitOK {
		return silentError{code}
	}
	return err
}

type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Read the configuration file and report every problem."`
	Schema configSchemaCmd `cmd:"" help:"List every key with its type, default and meaning."`
}

type configCheckCmd struct{}

func (c *configCheckCmd) Run(e *env) error {
	cfg, err := pgwitness.LoadConfig(e.Config)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s is valid: %d stream(s)\n", e.Config, len(cfg.Streams))
	return nil
}

type configSchemaCmd struct{}

func (c *configSchemaCmd) Run(e *env) error { return pgwitness.WriteConfigSchema(e.stdout) }

// versionFlag prints the version and ends.
type versionFlag bool

// BeforeReset implements kong's hook for flags that act by themselves.
func (v versionFlag) BeforeReset(app *kong.Kong, vars kong.Vars) error {
	fmt.Fprintln(app.Stdout, "pgwitness", vars["version"])
	app.Exit(exitOK)
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
