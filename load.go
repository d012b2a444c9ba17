package pgwitness

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/pgwitness/pgwitness/audit"
)

// ErrConfig is wrapped by every error about the configuration file.
var ErrConfig = errors.New("configuration")

// LoadConfig reads a configuration file. Unknown keys, wrong types, missing
// secrets and invalid values are errors that name the file, the line and the
// key; all invalid values are reported at once.
func LoadConfig(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, audit.WithHint(fmt.Errorf("read %w: %w", ErrConfig, err),
			"name the file with --config, or begin with the example configs/pgwitness.yaml")
	}
	return ParseConfig(path, text)
}

// ParseConfig is LoadConfig on text; name stands for the file in errors.
func ParseConfig(name string, text []byte) (Config, error) {
	cfg := DefaultConfig()
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return cfg, configError(name, err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return cfg, audit.WithHint(fmt.Errorf("%w %s: is empty", ErrConfig, name),
			"begin with the example configs/pgwitness.yaml")
	}
	cfg.source = &source{name, file}
	body := file.Docs[0].Body
	if err := expand(name, body); err != nil {
		return cfg, err
	}
	if err := yaml.NodeToValue(body, &cfg, yaml.Strict()); err != nil {
		return cfg, configError(name, err)
	}
	cfg.fillStreams()
	if err := cfg.Validate(); err != nil {
		return cfg, invalid(name, file, err)
	}
	return cfg, nil
}

// source is the file that a configuration was read from.
type source struct {
	name string
	file *ast.File
}

// place adds to err where the key that it is about stands in the file:
// "pgwitness.yaml:12: clickhouse.dsn: …".
func (c Config) place(key string, err error) error {
	if err == nil || c.source == nil {
		return err
	}
	return fmt.Errorf("%s:%d: %s: %w", c.source.name, lineOf(c.source.file, key), key, err)
}

// configError passes on what the YAML library says: the line, the message and
// the place in the text.
func configError(name string, err error) error {
	return audit.WithHint(fmt.Errorf("%w %s: %s", ErrConfig, name, strings.TrimSpace(yaml.FormatError(err, false, true))),
		"`pgwitness config schema` lists every key with its type and default")
}

// invalid adds to each problem the line of its key, or of the nearest key
// above it that is written down.
func invalid(name string, file *ast.File, err error) error {
	var problems []error
	for _, p := range unjoin(err) {
		key, _, _ := strings.Cut(p.Error(), ": ")
		problems = append(problems, fmt.Errorf("%w %s:%d: %w", ErrConfig, name, lineOf(file, key), p))
	}
	return audit.WithHint(errors.Join(problems...), "`pgwitness config schema` lists every key with its type and default")
}

// lineOf is the line of a key such as streams[0].tables[1].name.
func lineOf(file *ast.File, key string) int {
	for key != "" {
		if path, err := yaml.PathString("$." + key); err == nil {
			if node, err := path.FilterFile(file); err == nil && node != nil && node.GetToken() != nil {
				return node.GetToken().Position.Line
			}
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 1
}

var reference = regexp.MustCompile(`\$\{([^}]*)\}`)

// expander replaces ${NAME} and ${file:PATH} in the string values below a node.
type expander struct {
	file string
	errs []error
}

func expand(file string, node ast.Node) error {
	x := &expander{file: file}
	ast.Walk(x, node)
	return errors.Join(x.errs...)
}

// Visit implements ast.Visitor.
func (x *expander) Visit(node ast.Node) ast.Visitor {
	if s, ok := node.(*ast.StringNode); ok && strings.Contains(s.Value, "${") {
		s.Value = reference.ReplaceAllStringFunc(s.Value, func(ref string) string {
			value, err := resolve(ref[2 : len(ref)-1])
			if err != nil {
				x.errs = append(x.errs, x.missing(s, err))
			}
			return value
		})
	}
	return x
}

func (x *expander) missing(s *ast.StringNode, err error) error {
	return audit.WithHint(
		fmt.Errorf("%w %s:%d: %s: %w", ErrConfig, x.file, s.GetToken().Position.Line, strings.TrimPrefix(s.GetPath(), "$."), err),
		"set the variable or write the file, then try again")
}

// resolve is the value of NAME or file:PATH.
func resolve(ref string) (string, error) {
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read secret: %w", err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	value, ok := os.LookupEnv(ref)
	if !ok {
		return "", fmt.Errorf("the environment variable %s is not set", ref)
	}
	return value, nil
}
