package main

import (
	"errors"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/audit"
)

// The exit codes, the same for every verb; docs/command-line.md lists them.
const (
	exitOK         = 0
	exitFailure    = 1 // anything that has no code of its own
	exitUsage      = 2 // the command line or the configuration is wrong
	exitTampered   = 3 // the trail was checked, and does not hold
	exitNotChecked = 4 // the trail could not be checked
	exitNeedsHuman = 5 // going on could lose or falsify history
	exitFindings   = 6 // check found something that must be mended first
	exitAlarm      = 7 // status: somebody acted against the auditor, and nobody acknowledged it
)

var errUsage = errors.New("command line")

func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage), errors.Is(err, pgwitness.ErrConfig):
		return exitUsage
	case errors.Is(err, pgwitness.ErrNotChecked):
		return exitNotChecked
	case errors.Is(err, audit.ErrNeedsHuman):
		return exitNeedsHuman
	}
	return exitFailure
}
