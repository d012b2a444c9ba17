package engine

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// passwordsFile is the file of generated passwords in an engine's folder.
const passwordsFile = "passwords.json"

// newSecret returns a password of 130 random bits in letters and digits, which needs no quoting
// in a URL, in XML or in SQL.
func newSecret() string { return rand.Text() }

// secrets is a file of generated passwords by user name, readable by its owner only.
type secrets struct {
	path  string
	names map[string]string
}

// openSecrets reads the file; one that does not exist yet is empty.
func openSecrets(path string) (*secrets, error) {
	s := &secrets{path: path, names: map[string]string{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read passwords: %w", err)
	}
	if err := json.Unmarshal(text, &s.names); err != nil {
		return nil, fmt.Errorf("read passwords in %s: %w", path, err)
	}
	return s, nil
}

// ensure returns the password of name, making one up at the first call. It is durable only after
// save.
func (s *secrets) ensure(name string) string {
	if s.names[name] == "" {
		s.names[name] = newSecret()
	}
	return s.names[name]
}

func (s *secrets) save() error {
	text, err := json.MarshalIndent(s.names, "", "  ")
	if err != nil {
		return fmt.Errorf("write passwords: %w", err)
	}
	return writeFile(s.path, append(text, '\n'))
}

// writeFile replaces a file as a whole and makes it readable by its owner only. A crash leaves
// the old content or the new one, never a part.
func writeFile(path string, content []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
