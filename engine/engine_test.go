package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/engine"
)

func TestFindSaysWhatIsMissing(t *testing.T) {
	empty := t.TempDir()
	found, err := engine.Find(empty)
	var missing *engine.MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("find in an empty folder: %v, %v", found, err)
	}
	if want := []string{"PostgreSQL", "ClickHouse"}; !slices.Equal(missing.Missing, want) {
		t.Errorf("missing %v, want %v", missing.Missing, want)
	}
	if !strings.Contains(err.Error(), empty) || !strings.Contains(missing.Hint(), "npm ci --prefix engines") {
		t.Errorf("error %q with hint %q names neither folder nor command", err, missing.Hint())
	}
}

func TestFindOneOfTwo(t *testing.T) {
	dir := t.TempDir()
	linked := filepath.Join(dir, "node_modules")
	if err := os.Mkdir(linked, 0o755); err != nil {
		t.Fatal(err)
	}
	whole := parts(t).Dir
	if err := os.Symlink(filepath.Join(whole, "node_modules/@chdb"), filepath.Join(linked, "@chdb")); err != nil {
		t.Fatal(err)
	}
	found, err := engine.Find(dir)
	var missing *engine.MissingError
	if !errors.As(err, &missing) || !slices.Equal(missing.Missing, []string{"PostgreSQL"}) {
		t.Errorf("find: %v, want PostgreSQL to be missing", err)
	}
	if found.ClickHouse == "" || found.Postgres != "" {
		t.Errorf("found %+v, want ClickHouse alone", found)
	}
}

func TestFindFollowsTheVariable(t *testing.T) {
	whole := parts(t)
	t.Setenv(engine.EnginesVariable, whole.Dir)
	if found, err := engine.Find(""); err != nil || found != whole {
		t.Errorf("find: %+v, %v, want %+v", found, err, whole)
	}
	if _, err := engine.Find(t.TempDir()); err == nil {
		t.Error("an explicit empty folder is passed over for the variable")
	}
}
