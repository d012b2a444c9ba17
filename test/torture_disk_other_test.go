//go:build !linux

package test

import (
	"errors"
	"testing"
)

// smallDisk needs mounts as Linux has them.
func smallDisk(testing.TB, string) string { return "" }

func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }
