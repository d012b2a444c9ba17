package engine

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// dieWithParent gives the child a process group of its own and lets the kernel signal it when the
// thread that starts it ends.
func dieWithParent(cmd *exec.Cmd, death syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = death
}

// descendants lists the processes whose ancestor is pid, so that a kill can take them along:
// PostgreSQL's backends lead sessions of their own and are in no common group.
func descendants(pid int) (pids []int) {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if child, err := strconv.Atoi(entry.Name()); err == nil {
			parent := status(child).parent
			children[parent] = append(children[parent], child)
		}
	}
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		pids = append(pids, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return pids
}

// awaitEnd waits for the end of killed processes that are not our children, for a second: they hold
// the shared memory that a restarted server wants to itself. One that is dead and not yet reaped
// holds nothing.
func awaitEnd(pids []int) {
	deadline := time.Now().Add(time.Second)
	for _, pid := range pids {
		for status(pid).alive() && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
}

// processStatus is what the kernel says of a process: its state and its parent, fields 3 and 4 of
// /proc/PID/stat.
type processStatus struct {
	state  string
	parent int
}

// alive reports whether the process has resources; Z and X are dead.
func (s processStatus) alive() bool { return s.state != "" && s.state != "Z" && s.state != "X" }

// status reads a process's status; the zero value when it is gone. The second field, the command in
// parentheses, may itself hold spaces and parentheses.
func status(pid int) (s processStatus) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return s
	}
	s.state = string(fields[0])
	s.parent, err = strconv.Atoi(string(fields[1]))
	if err != nil {
		return processStatus{}
	}
	return s
}
