package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit in which Linux tells the processor time of a process.
const tick = 10 * time.Millisecond

// FamilyTime is the processor time of a process with all its threads, and that
// of its children, whether they live or have ended. That of a PostgreSQL is had
// by the id of its postmaster, whichever backends came and went.
func FamilyTime(pid int) (time.Duration, error) {
	total, err := statTime(pid, 4)
	if err != nil {
		return 0, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, fmt.Errorf("measure process %d: %w", pid, err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(text)) {
			id, err := strconv.Atoi(child)
			if err != nil {
				return 0, fmt.Errorf("measure process %d: children %q", pid, text)
			}
			// A child that ends just now is missed until its parent has asked for it.
			if t, err := FamilyTime(id); err == nil {
				total += t
			}
		}
	}
	return total, nil
}

// OwnTime is the processor time of a process with all its threads.
func OwnTime(pid int) (time.Duration, error) { return statTime(pid, 2) }

// statTime adds up the first n of the times in /proc/<pid>/stat: user, system,
// and both again of the children that were waited for.
func statTime(pid, n int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("measure process: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name of the program may hold anything but this
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return 0, fmt.Errorf("measure process: /proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, f := range fields[11 : 11+n] {
		t, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("measure process: /proc/%d/stat: %w", pid, err)
		}
		ticks += t
	}
	return time.Duration(ticks) * tick, nil
}

// PeakMemory is the most that a process ever had in RAM, in bytes.
func PeakMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("measure process: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("measure process: /proc/%d/status has no VmHWM", pid)
}

// Traffic is how many bytes a process has read and written so far, from and to
// files and, by far the most in a sidecar, connections.
func Traffic(pid int) (read, written int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err == nil {
		_, err = fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\n", &read, &written)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("measure traffic of process %d: %w", pid, err)
	}
	return read, written, nil
}
