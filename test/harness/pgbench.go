package harness

import (
	"os/exec"
	"path/filepath"
)

// Pgbench is the pgbench that the PATH knows, or of the newest version that Debian has installed; "" where
// there is none.
func Pgbench() string {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path
	}
	if found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench"); err == nil && len(found) > 0 {
		return found[len(found)-1]
	}
	return ""
}
