package pgwitness

import (
	_ "embed"
	"fmt"
	"io"
)

// exampleConfig is the shipped configuration: every key, its default and its
// meaning. A test holds it against the defaults of the code.
//
//go:embed configs/pgwitness.yaml
var exampleConfig []byte

// WriteConfigSchema prints every key of the configuration with its default and
// its meaning, as a file to begin with.
func WriteConfigSchema(w io.Writer) error {
	if _, err := w.Write(exampleConfig); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}
