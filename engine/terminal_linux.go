package engine

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal in the place of standard input.
//
// The engine ends itself at the first client that gives a wrong password or hangs up in the middle
// of a query, unless it takes its session for interactive: one whose standard input is a terminal.
// (ClickHouse issue 115666, repaired in 26.8.)
type terminal struct {
	parent *os.File // what standard input was before
	keys   int      // the file descriptor of the end where somebody would type
}

// openTerminal puts a terminal in the place of standard input.
func openTerminal() (*terminal, error) {
	before, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("keep standard input: %w", err)
	}
	keys, screen, err := terminalPair()
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	if err := unix.Dup3(screen, 0, 0); err != nil {
		return nil, fmt.Errorf("put a terminal on standard input: %w", err)
	}
	t := &terminal{parent: os.NewFile(uintptr(before), "standard input"), keys: keys}
	return t, unix.Close(screen)
}

// hangUp ends the session, which waits for the next command once its query has ended.
func (t *terminal) hangUp() error {
	if t.keys < 0 {
		return nil
	}
	keys := t.keys
	t.keys = -1
	return unix.Close(keys)
}

// terminalPair makes the two ends of a pseudo-terminal.
func terminalPair() (keys, screen int, err error) {
	keys, err = unix.Open("/dev/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.IoctlSetPointerInt(keys, unix.TIOCSPTLCK, 0); err != nil {
		return 0, 0, err
	}
	number, err := unix.IoctlGetInt(keys, unix.TIOCGPTN)
	if err != nil {
		return 0, 0, err
	}
	screen, err = unix.Open("/dev/pts/"+strconv.Itoa(number), syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	return keys, screen, err
}
