package cdc

import (
	"errors"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

func TestForkOf(t *testing.T) {
	const history = "1\t0/3000148\tno recovery target specified\n\n2\t16/B374D848\tbefore 2026-01-02 03:04:05\n"
	f := func(history string, from uint32, want audit.LSN, wantErr error) {
		t.Helper()
		if got, err := forkOf(history, from); got != want || !errors.Is(err, wantErr) {
			t.Errorf("fork of %d is %s (%v), want %s (%v)", from, got, err, want, wantErr)
		}
	}
	f(history, 1, 0x3000148, nil)
	f(history, 2, 0x16B374D848, nil)
	f(history, 3, 0, errNotAncestor)
	f("# a comment\n"+history, 2, 0x16B374D848, nil)
	f("", 1, 0, errNotAncestor)
	if _, err := forkOf("one\t0/1\tx\n", 1); err == nil {
		t.Error("a line without a number is accepted")
	}
}
