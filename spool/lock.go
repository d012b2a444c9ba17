package spool

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// acquire takes the lock of the folder, which ends with the process at the
// latest. It does not wait.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock spool: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // it was not locked
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("lock spool %s: %w", path, err)
	}
	return f, nil
}
