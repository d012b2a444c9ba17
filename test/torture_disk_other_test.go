//go:build !linux

package test

import "testing"

// smallDisk needs mounts as Linux has them.
func smallDisk(testing.TB, string) string { return "" }
