package test

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path that imports of our own packages begin with; top is its
// root, seen from the folder that go test runs this package in.
const (
	module = "github.com/pgwitness/pgwitness"
	top    = ".."
)

// emptyNames are folder names that gather what belongs nowhere.
var emptyNames = strings.Fields("pkg internal common util utils helper helpers manager managers misc shared lib")

// mayImport says, for the first folder of an importing file, which first
// folders of our own it may import besides itself. Rooms that are not named
// may import the base: audit, sql and store. The root package is "".
var mayImport = map[string]func(string) bool{
	"audit": only(),
	"sql":   only(),
	"chain": only("audit"),
	"store": only("audit", "sql"),
	"":      allBut("cmd", "test"),
	"cmd":   only("", "audit", "engine"), // engine: it serves ClickHouse in a process of its own
	"test":  allBut("cmd"),
}

// standardOnly are the packages that an auditor has to be able to read without
// reading anything else.
var standardOnly = []string{"audit", "chain", "sql"}

func only(rooms ...string) func(string) bool {
	return func(room string) bool { return slices.Contains(rooms, room) }
}

func allBut(rooms ...string) func(string) bool {
	return func(room string) bool { return !slices.Contains(rooms, room) }
}

// source is one parsed Go file.
type source struct {
	path string // below the top, with slashes
	test bool   // a _test.go file
	file *ast.File
}

// folder is the directory of s below the top, "." for the root package.
func (s source) folder() string { return path.Dir(s.path) }

// room is the first folder of s, "" for the root package.
func (s source) room() string { return firstFolder(s.folder()) }

func firstFolder(folder string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(folder, "."), "/")
	return first
}

func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser has accepted it
		paths = append(paths, p)
	}
	return paths
}

// parseTree parses every Go file of the project. It reads the files itself
// instead of asking go list, whose answer go test does not know to be stale.
func parseTree(t *testing.T) []source {
	t.Helper()
	var sources []source
	err := filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			base := entry.Name()
			if name != top && (strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		s, err := parseSource(filepath.ToSlash(below), string(text))
		sources = append(sources, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 10 {
		t.Fatalf("found %d Go files from %s: this is not the project", len(sources), top)
	}
	return sources
}

func parseSource(name, text string) (source, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
	return source{name, strings.HasSuffix(name, "_test.go"), file}, err
}

// forbiddenImport returns why s must not import the path, or "".
func forbiddenImport(s source, imported string) string {
	own, ours := strings.CutPrefix(imported, module)
	if !ours {
		return forbiddenForeign(s, imported)
	}
	from, to := s.room(), firstFolder(strings.TrimPrefix(own, "/"))
	may, named := mayImport[from]
	if !named {
		may = only("audit", "sql", "store")
	}
	switch {
	case from == to, may(to):
		return ""
	case s.test && (to == "test" || to == "engine"):
		return "" // the harness, and the engines that it hands out
	case to == "test":
		return "only tests may import test"
	case to == "cmd":
		return "cmd is the outermost layer"
	case to == "":
		return "the root ties the rooms together, no room knows it"
	}
	return "neighbours speak audit, the root ties them together"
}

// forbiddenForeign is forbiddenImport for packages that are not ours.
func forbiddenForeign(s source, imported string) string {
	host, _, _ := strings.Cut(imported, "/")
	switch {
	case s.test:
		return ""
	case strings.Contains(host, ".") && slices.Contains(standardOnly, s.room()):
		return "this package uses the standard library only"
	case imported == "os/signal" && s.room() != "cmd" && s.room() != "test":
		return "signals are handled in cmd"
	case imported == "github.com/ebitengine/purego" && !excludedFromStatic(s.file):
		return `purego needs the dynamic loader: its file must say "//go:build !static", for the container image`
	}
	return ""
}

// excludedFromStatic reports whether the build constraint of the file leaves
// it out of a build with the tag static.
func excludedFromStatic(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if expr, err := constraint.Parse(comment.Text); err == nil && comment.Pos() < file.Package {
				return !expr.Eval(func(tag string) bool { return true })
			}
		}
	}
	return false
}

// packageComment returns what is wrong with the comment of the package that
// the files make up.
func packageComment(files []source) (problems []string) {
	var text string
	for _, s := range files {
		if s.file.Doc == nil {
			continue
		}
		if text != "" {
			problems = append(problems, "has more than one package comment")
		}
		text = s.file.Doc.Text()
	}
	begin := "Package " + files[0].file.Name.Name + " "
	if files[0].file.Name.Name == "main" {
		begin = "Command " + path.Base(files[0].folder()) + " "
	}
	if !strings.HasPrefix(text, begin) {
		problems = append(problems, fmt.Sprintf("has no package comment that begins with %q", begin))
	}
	if !regexp.MustCompile(`(?i)\bnever\b`).MatchString(text) {
		problems = append(problems, `its comment does not end with what the package never does (the word "never")`)
	}
	return problems
}

// exits returns the ways in which s leaves without returning an error, and its
// init functions. cmd and test may do all of that.
func exits(s source) (calls []string) {
	if s.test || s.room() == "cmd" || s.room() == "test" {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				calls = append(calls, "func init")
			}
		case *ast.CallExpr:
			name := called(n)
			if name == "panic" || name == "os.Exit" || strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "log.Panic") {
				calls = append(calls, name)
			}
		}
		return true
	})
	return calls
}

// skips returns the calls in a test file that skip the test.
func skips(s source) (calls []string) {
	if !s.test {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			receiver, method, _ := strings.Cut(called(call), ".")
			if slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, method) && slices.Contains([]string{"t", "b", "f", "tb"}, receiver) {
				calls = append(calls, receiver+"."+method)
			}
		}
		return true
	})
	return calls
}

// called is the name of the function that call calls: "panic", "os.Exit"; or
// "" when it is not a plain name.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}
