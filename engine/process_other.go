//go:build !linux

package engine

import (
	"os/exec"
	"syscall"
)

// dieWithParent gives the child a process group of its own.
//
// BUG(engine): outside Linux nothing ends PostgreSQL when our process is killed with SIGKILL; the
// next Start on the same folder reports the old server by its process id. ClickHouse ends, for its
// standard input closes.
func dieWithParent(cmd *exec.Cmd, _ syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// descendants is known on Linux only; elsewhere PostgreSQL's children notice by themselves that
// their parent is gone.
func descendants(int) []int { return nil }

// awaitEnd has nobody to wait for.
func awaitEnd([]int) {}
