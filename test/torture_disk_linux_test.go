package test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/pgwitness/pgwitness/test/harness"
)

// smallDisk is a folder on a file system of its own, of a size such as 48m. It
// takes the right to mount; without it there is none, and "" is returned.
func smallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := harness.Folder(t)
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Logf("no file system can be mounted here: the faults of full disks are left out")
		return ""
	}
	if err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		// What still lies open there ends with its process.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount the small disk: %v", err)
		}
	})
	return dir
}

// freeBytes is what the file system of a folder has left.
func freeBytes(dir string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
