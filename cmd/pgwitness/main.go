// Command pgwitness streams every committed row change out of PostgreSQL's
// write-ahead log, works out who made it, from where and why, seals it into a
// hash chain and loads it into ClickHouse.
//
// It reads the command line, prints, and sets the exit code. It never decides
// anything about the trail: every verb is a call into package pgwitness.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/audit"
)

// version is set by the linker; see Makefile.
var version string

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings as arguments; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("pgwitness"),
		kong.Description("The audit trail of a PostgreSQL: who changed what, when, from where and why, sealed and in ClickHouse."),
		kong.UsageOnError(),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: true}),
		kong.Vars{"version": versionText()},
		kong.Exit(func(int) {}),
	)
	if err != nil {
		return report(stderr, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if isHelp(args) {
		_, _ = parser.Parse(args) // prints the help; what is missing besides does not matter
		return exitOK
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return report(stderr, audit.WithHint(fmt.Errorf("%w: %w", errUsage, err), "`pgwitness --help` lists the verbs and flags"))
	}
	ctx, stop := signals(stderr)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	return report(stderr, parsed.Run(&env{cli: &c, stdout: stdout, stderr: stderr}))
}

func isHelp(args []string) bool {
	for _, a := range args {
		if a == "--help" || a == "-h" || a == "--version" {
			return true
		}
	}
	return false
}

// signals makes the first SIGINT or SIGTERM drain and the second one quit.
func signals(stderr io.Writer) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-caught
		fmt.Fprintln(stderr, "pgwitness: finishing; once more to quit at once")
		cancel()
		<-caught
		os.Exit(exitFailure)
	}()
	return ctx, cancel
}

// report prints err and its hint, and returns the exit code that stands for it.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	var silent silentError
	if errors.As(err, &silent) {
		return silent.code
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(stderr, "pgwitness: error: %s\n", line)
	}
	if hint := audit.Hint(err); hint != "" {
		fmt.Fprintf(stderr, "pgwitness: hint: %s\n", hint)
	}
	return exitCode(err)
}

// silentError carries an exit code out of a verb that has printed everything.
type silentError struct{ code int }

func (s silentError) Error() string { return fmt.Sprintf("exit %d", s.code) }

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// env is what every verb is given.
type env struct {
	*cli
	stdout, stderr io.Writer
}

// witness loads the configuration and makes the sidecar, which does nothing
// until a verb is called.
func (e *env) witness() (*pgwitness.Witness, error) {
	cfg, err := pgwitness.LoadConfig(e.Config)
	if err != nil {
		return nil, err
	}
	w := pgwitness.New(cfg, logger(cfg.Log, e.stderr))
	w.Version = versionText()
	w.Operator = pgwitness.Operator()
	return w, nil
}
