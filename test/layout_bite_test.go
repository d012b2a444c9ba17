package test

import (
	"strings"
	"testing"
)

// Each rule is shown a source that breaks it and one that does not: a rule
// that lets everything pass would keep the layout tests green for ever.

func TestLayoutImportRule(t *testing.T) {
	const ours = module + "/"
	tests := []struct {
		path, imported string
		forbidden      bool
	}{
		{"cdc/cdc.go", ours + "audit", false},
		{"cdc/cdc.go", ours + "sql", false},
		{"cdc/cdc.go", ours + "cdc/wire", false},
		{"cdc/cdc.go", ours + "sink", true},
		{"cdc/cdc_test.go", ours + "sink", true},
		{"cdc/cdc.go", module, true},
		{"cdc/cdc.go", ours + "cmd/pgwitness", true},
		{"cdc/cdc.go", ours + "test/harness", true},
		{"cdc/cdc_test.go", ours + "test/harness", false},
		{"cdc/cdc_test.go", ours + "engine", false},
		{"cdc/cdc.go", ours + "engine", true},
		{"a-new-room/new.go", ours + "cdc", true},
		{"audit/audit.go", ours + "sql", true},
		{"audit/audit.go", "github.com/rs/zerolog", true},
		{"audit/audit_test.go", "github.com/google/go-cmp/cmp", false},
		{"chain/chain.go", "crypto/sha256", false},
		{"chain/chain.go", ours + "audit", false},
		{"chain/chain.go", ours + "sql", true},
		{"store/store.go", ours + "audit", false},
		{"store/store.go", ours + "chain", true},
		{"pipeline.go", ours + "cdc", false},
		{"pipeline.go", ours + "cmd/pgwitness", true},
		{"pipeline.go", "os/signal", true},
		{"cmd/pgwitness/main.go", module, false},
		{"cmd/pgwitness/main.go", "os/signal", false},
		{"cmd/pgwitness/main.go", ours + "sink", true},
		{"test/torture_test.go", ours + "engine", false},
		{"engine/dlopen.go", "github.com/ebitengine/purego", true},
	}
	for _, tt := range tests {
		reason := forbiddenImport(parse(t, tt.path, "package x"), tt.imported)
		if (reason != "") != tt.forbidden {
			t.Errorf("%s imports %s: got %q, want forbidden: %v", tt.path, tt.imported, reason, tt.forbidden)
		}
	}
	static := parse(t, "engine/dlopen.go", "//go:build !static\n\npackage engine")
	if reason := forbiddenImport(static, "github.com/ebitengine/purego"); reason != "" {
		t.Errorf("purego in a file that a static build leaves out: %s", reason)
	}
}

func TestLayoutCommentRule(t *testing.T) {
	tests := []struct {
		comment string
		want    int
	}{
		{"// Package cdc reads. It never writes.\n", 0},
		{"// Package cdc reads.\n", 1},
		{"// This reads. It never writes.\n", 1},
		{"", 2},
	}
	for _, tt := range tests {
		if got := packageComment([]source{parse(t, "cdc/cdc.go", tt.comment+"package cdc")}); len(got) != tt.want {
			t.Errorf("%q: got %q, want %d problems", tt.comment, got, tt.want)
		}
	}
	twice := parse(t, "cdc/cdc.go", "// Package cdc never fails.\npackage cdc")
	if got := packageComment([]source{twice, twice}); len(got) != 1 {
		t.Errorf("two comments: got %q, want 1 problem", got)
	}
}

func TestLayoutExitRule(t *testing.T) {
	const text = `package x
func init() {}
func f() { panic("x"); os.Exit(1); log.Fatalf("x"); defer recover() }`
	if got := exits(parse(t, "cdc/x.go", text)); len(got) != 4 {
		t.Errorf("in a room: got %q, want 4", got)
	}
	if got := exits(parse(t, "cmd/pgwitness/x.go", text)); got != nil {
		t.Errorf("in cmd: got %q, want none", got)
	}
}

func TestLayoutSkipRule(t *testing.T) {
	const text = `package x
func TestX(t *testing.T) { t.Skip("no server"); s.Skip(3) }`
	if got := skips(parse(t, "cdc/x_test.go", text)); len(got) != 1 {
		t.Errorf("got %q, want 1", got)
	}
}

func TestLayoutGlobalRule(t *testing.T) {
	bad := strings.Fields("empty written indexed counted taken number called pool Exported borrowed")
	good := strings.Fields("table shadowed ErrStop ErrTheirs pattern raw _")
	files := []source{parse(t, "cdc/x.go", `package x
var empty int
var written, table = []int{1}, []int{1}
var indexed = map[string]int{}
var counted = [2]int{}
var taken = thing{}
var number = 1
var called = time.Now()
var pool = sync.Pool{}
var Exported = []int{1}
var shadowed = []int{1}
var ErrStop = errors.New("stop")
var ErrTheirs = theirs.ErrStop
var borrowed = theirs.Default
var pattern = regexp.MustCompile("x")
var raw = []byte("x")
var _ = f
`), parse(t, "cdc/y.go", `package x
func f(table int) {
	written = nil
	indexed["x"] = 1
	counted[0]++
	use(&taken.part)
	table++
	shadowed := 1
	shadowed = 2
}`)}
	problems := globals(files)
	for _, name := range bad {
		if problems[name] == "" {
			t.Errorf("%s: got no problem", name)
		}
	}
	for _, name := range good {
		if problems[name] != "" {
			t.Errorf("%s: got %q, want no problem", name, problems[name])
		}
	}
}

func parse(t *testing.T, path, text string) source {
	t.Helper()
	s, err := parseSource(path, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
