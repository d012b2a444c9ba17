package test

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// The exceptions from the rules of layout_rules_test.go, each with its reason.
// An exception that excepts nothing fails the test.
var (
	exitsAllowed   = map[string]string{} // "folder/file.go: call"
	globalsAllowed = map[string]string{} // "folder: variable"
	skipsAllowed   = map[string]string{} // "folder/file.go: call"
)

func TestLayoutTopLevel(t *testing.T) {
	names := strings.Fields("cmd cdc enrich sink sql configs test docker-compose.yml go.mod Makefile")
	for _, name := range names {
		if _, err := os.Stat(path.Join(top, name)); err != nil {
			t.Errorf("the top level has no %s: that name is given by the project", name)
		}
	}
}

func TestLayoutFolderNames(t *testing.T) {
	for _, s := range parseTree(t) {
		for _, name := range strings.Split(s.folder(), "/") {
			if slices.Contains(emptyNames, name) {
				t.Errorf("%s: a folder called %s says nothing about what is in it", s.path, name)
			}
		}
	}
}

func TestLayoutImports(t *testing.T) {
	for _, s := range parseTree(t) {
		for _, imported := range s.imports() {
			if reason := forbiddenImport(s, imported); reason != "" {
				t.Errorf("%s imports %s: %s", s.path, imported, reason)
			}
		}
	}
}

func TestLayoutPackageComments(t *testing.T) {
	for folder, files := range packages(parseTree(t)) {
		for _, problem := range packageComment(files) {
			t.Errorf("%s: %s", folder, problem)
		}
	}
}

func TestLayoutExits(t *testing.T) {
	used := map[string]bool{}
	for _, s := range parseTree(t) {
		for _, call := range exits(s) {
			key := s.path + ": " + call
			used[key] = true
			if exitsAllowed[key] == "" {
				t.Errorf("%s: only cmd may; return an error instead", key)
			}
		}
	}
	unusedExceptions(t, exitsAllowed, used)
}

func TestLayoutGlobals(t *testing.T) {
	used := map[string]bool{}
	for folder, files := range packages(parseTree(t)) {
		if firstFolder(folder) == "test" {
			continue
		}
		for name, problem := range globals(files) {
			key := folder + ": " + name
			used[key] = true
			if globalsAllowed[key] == "" {
				t.Errorf("%s: %s", key, problem)
			}
		}
	}
	unusedExceptions(t, globalsAllowed, used)
}

func TestLayoutSkips(t *testing.T) {
	used := map[string]bool{}
	for _, s := range parseTree(t) {
		for _, call := range skips(s) {
			key := s.path + ": " + call
			used[key] = true
			if skipsAllowed[key] == "" {
				t.Errorf("%s: a test that did not run looks like one that passed; test/harness alone decides", key)
			}
		}
	}
	unusedExceptions(t, skipsAllowed, used)
}

// packages groups the files that are not tests by folder.
func packages(sources []source) map[string][]source {
	folders := map[string][]source{}
	for _, s := range sources {
		if !s.test {
			folders[s.folder()] = append(folders[s.folder()], s)
		}
	}
	return folders
}

func unusedExceptions(t *testing.T, allowed map[string]string, used map[string]bool) {
	t.Helper()
	for key := range allowed {
		if !used[key] {
			t.Errorf("the exception for %q is not needed any more: remove it", key)
		}
	}
}
