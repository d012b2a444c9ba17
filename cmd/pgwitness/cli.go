package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness"
)

// cli is the command line: the flags of every verb, and the verbs.
type cli struct {
	Config string `short:"c" default:"pgwitness.yaml" env:"PGWITNESS_CONFIG" help:"Configuration file (${default})."`

	Demo        demoCmd        `cmd:"" help:"Everything embedded: a shop under load, a tampering hand, and the proof."`
	Check       checkCmd       `cmd:"" help:"Look whether both databases are ready. Changes nothing."`
	Setup       setupCmd       `cmd:"" help:"Install publication, triggers and slot in PostgreSQL, the schema in ClickHouse. Idempotent."`
	Teardown    teardownCmd    `cmd:"" help:"Take all of that out of PostgreSQL again. The trail stays."`
	Run         runCmd         `cmd:"" help:"Run the sidecar."`
	Resume      resumeCmd      `cmd:"" help:"Record what was not seen, after a slot was lost or a server set back, and let the stream go on."`
	Acknowledge acknowledgeCmd `cmd:"" help:"Record that somebody looked at the acts against the auditor."`
	Status      statusCmd      `cmd:"" help:"Lag, head, coverage, slot."`
	Trail       trailCmd       `cmd:"" help:"Who changed what, in sentences."`
	State       stateCmd       `cmd:"" help:"What a row was at a moment."`
	Verify      verifyCmd      `cmd:"" help:"Recompute the chain. Exit code 3: it does not hold; 4: it could not be checked."`
	Health      healthCmd      `cmd:"" help:"Ask a running sidecar whether it is ready. For health checks."`
	Settings    configCmd      `cmd:"" name:"config" help:"Check a configuration file, or list every key."`
	Engine      engineCmd      `cmd:"" help:"Run an embedded PostgreSQL or ClickHouse by itself."`

	Version versionFlag `help:"Print the version."`
}

// streamFlag chooses a stream where there are several.
type streamFlag struct {
	Stream string `help:"Stream; not needed when the configuration has only one."`
}

// jsonFlag asks for output that programs read.
type jsonFlag struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// logger writes to stderr, as the configuration says.
func logger(cfg pgwitness.LogConfig, w io.Writer) zerolog.Logger {
	if cfg.Format == "console" {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w)}
	}
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		level = zerolog.InfoLevel // the configuration was validated
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// isTerminal reports whether w is a terminal, where colours and progress are
// welcome.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == ""
}

// progress draws a line that is overwritten, on a terminal only.
func progress(w io.Writer, format string, args ...any) {
	if isTerminal(w) {
		fmt.Fprintf(w, "\r\x1b[K"+format, args...)
	}
}
