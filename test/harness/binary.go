package harness

import (
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
)

// BinaryVariable names the environment variable with a pgwitness that is built already.
const BinaryVariable = "PGWITNESS_BIN"

// RaceOptions is for the environment of a program that Binary built: it ends at the first race. A
// program with the race detector sleeps before each of its ends, for late races to be seen, by
// default for a second; tests start programs hundreds of times.
const RaceOptions = "GORACE=halt_on_error=1 atexit_sleep_ms=50"

// Binary returns the path of the program pgwitness, built from this module once per test binary,
// with the race detector when the tests have it. PGWITNESS_BIN names one that is built already.
func Binary(t testing.TB) string {
	t.Helper()
	skipUnit(t)
	if given := os.Getenv(BinaryVariable); given != "" {
		return given
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.binary == "" {
		path := filepath.Join(serverFolder(t, "bin"), "pgwitness")
		args := []string{"build", "-o", path}
		if raceEnabled {
			args = append(args, "-race")
		}
		goBuild(t, nil, append(args, "./cmd/pgwitness")...)
		shared.binary = path
	}
	return shared.binary
}

// PlainBinary is Binary without the race detector, for tests of the program's own size and speed: with
// the detector it takes several times the memory.
func PlainBinary(t testing.TB) string {
	t.Helper()
	path := Binary(t)
	if !hasRaceDetector(t, path) {
		return path
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.plain == "" {
		shared.plain = filepath.Join(serverFolder(t, "bin"), "pgwitness-plain")
		goBuild(t, nil, "build", "-o", shared.plain, "./cmd/pgwitness")
	}
	return shared.plain
}

// hasRaceDetector reads how a program was built.
func hasRaceDetector(t testing.TB, path string) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	check(t, "read how "+path+" was built", err)
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// ClickHouseServerBinary returns the path of chserver. It is built once for all test binaries, under a
// name made of its sources, because linking it costs more than starting the engine.
func ClickHouseServerBinary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(cacheFolder(t), "chserver-"+sourceHash(t))
	if exists(path) {
		return path
	}
	forgetOld(filepath.Join(cacheFolder(t), "chserver-*"))
	draft := fmt.Sprintf("%s.%d", path, os.Getpid())
	goBuild(t, []string{"CGO_ENABLED=0"}, "build", "-o", draft, "./test/harness/chserver")
	check(t, "build chserver", os.Rename(draft, path))
	return path
}

// sourceHash stands for everything that chserver is made of.
func sourceHash(t testing.TB) string {
	t.Helper()
	root := moduleRoot(t)
	files := []string{filepath.Join(root, "go.sum")}
	for _, folder := range []string{"engine", "test/harness/chserver"} {
		sources, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		check(t, "list sources of chserver", err)
		files = append(files, sources...)
	}
	slices.Sort(files)
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version())
	for _, name := range files {
		file, err := os.Open(name)
		check(t, "read source of chserver", err)
		_, err = io.Copy(hash, file)
		check(t, "read source of chserver", err)
		check(t, "read source of chserver", file.Close())
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:8])
}

func goBuild(t testing.TB, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = moduleRoot(t)
	cmd.Env = append(os.Environ(), env...)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, said)
	}
}
