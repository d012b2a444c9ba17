package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const folderPrefix = "pgwitness-test-"

// processFolder is where all servers of this test binary live. Its name carries our process id, so
// that a later run can tell whose it was.
func processFolder() string {
	return filepath.Join(os.TempDir(), folderPrefix+strconv.Itoa(os.Getpid()))
}

// Folder makes a folder that is removed after the test. Unlike t.TempDir it can be entered by
// every user, which PostgreSQL needs when the tests run as root.
func Folder(t testing.TB) string {
	t.Helper()
	dir := serverFolder(t, "of")
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove folder of the test: %v", err)
		}
	})
	return dir
}

// serverFolder makes a folder that stays until the binary ends.
func serverFolder(t testing.TB, name string) string {
	t.Helper()
	sweep()
	check(t, "make folder", os.MkdirAll(processFolder(), 0o755))
	dir, err := os.MkdirTemp(processFolder(), name+"-")
	check(t, "make folder", err)
	check(t, "open folder", os.Chmod(dir, 0o755))
	return dir
}

// cacheFolder is where the things stay that all test binaries, this time and next time, need alike.
func cacheFolder(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(processFolder(), "cache")
	if cache, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(cache, "pgwitness-test")
	}
	check(t, "make cache folder", os.MkdirAll(dir, 0o755))
	return dir
}

// forgetOld removes the files of a pattern that nobody has made anew for a day.
func forgetOld(pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return // the patterns are well formed
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			// Another test binary may have removed it first.
			_ = os.Remove(file)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sweep removes what test binaries that were killed left behind.
func sweep() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), folderPrefix))
		if err != nil || syscall.Kill(pid, 0) != syscall.ESRCH {
			continue
		}
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrPermission) {
			fmt.Fprintln(os.Stderr, "harness: remove what an earlier run left:", err)
		}
	}
}
