package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/capture.md names a test for every case, or says that there is none yet,
// and every test that it names is there, subtests by their last part.
func TestCaptureIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/capture.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^\| (\d+) \| [^|]+ \| ([^|]+) \|`)
	seen := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seen[m[1]] = true
		for _, group := range strings.Split(m[2], ";") {
			room, tests, found := strings.Cut(strings.TrimSpace(group), "` ")
			if !found {
				t.Errorf("case %s: no room before %q", m[1], group)
				continue
			}
			source := testsOf(t, strings.TrimPrefix(room, "`"))
			for _, name := range strings.Split(tests, ",") {
				checkNamedTest(t, m[1], source, strings.TrimSpace(name))
			}
		}
	}
	for i := 1; i <= 38; i++ {
		if n := strconv.Itoa(i); !seen[n] && !strings.Contains(string(text), "\n- "+n+": ") {
			t.Errorf("case %d has no row", i)
		}
	}
}

func checkNamedTest(t *testing.T, number, source, name string) {
	t.Helper()
	function, sub, _ := strings.Cut(name, "/")
	if !strings.Contains(source, "func "+function+"(t *testing.T)") {
		t.Errorf("case %s: there is no test %s", number, function)
	}
	if !strings.Contains(source, `"`+sub+`"`) && sub != "" {
		t.Errorf("case %s: %s has no part %q", number, function, sub)
	}
}

// testsOf is the text of all tests of a room.
func testsOf(t *testing.T, room string) (source string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", room, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("find the tests of %q: %v", room, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source += string(text)
	}
	return source
}
