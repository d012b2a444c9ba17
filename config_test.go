package pgwitness

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pgwitness/pgwitness/audit"
)

// minimal is the shortest configuration there is.
const minimal = "streams:\n  - name: shop\n    tables:\n      - name: public.*\n"

func TestShippedConfigurationIsTheDefaults(t *testing.T) {
	want, err := ParseConfig("minimal", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(filepath.Join("configs", "pgwitness.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Config{})); d != "" {
		t.Errorf("configs/pgwitness.yaml differs from the defaults (-default +file):\n%s", d)
	}
}

// Every key of the structs stands in the shipped file.
func TestShippedConfigurationHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("configs", "pgwitness.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	missing(t, "", reflect.TypeFor[Config](), tree, string(text))
}

// missing reports the keys of typ that node does not have. The rules, whose
// lists are empty by default, are shown in comments.
func missing(t *testing.T, at string, typ reflect.Type, node any, text string) {
	switch typ.Kind() {
	case reflect.Slice:
		if list, ok := node.([]any); ok && len(list) > 0 {
			missing(t, at+"[0]", typ.Elem(), list[0], text)
		} else if typ.Elem().Kind() == reflect.Struct {
			for i := range typ.Elem().NumField() {
				key := typ.Elem().Field(i).Tag.Get("yaml")
				if key != "-" && !strings.Contains(text, key+":") {
					t.Errorf("%s: no example of the key %s", at, key)
				}
			}
		}
	case reflect.Struct:
		m, _ := node.(map[string]any)
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if options == "inline" {
				missing(t, at, f.Type, node, text)
				continue
			}
			if key == "-" || !f.IsExported() {
				continue
			}
			value, ok := m[key]
			if !ok {
				t.Errorf("%s.%s is not in the file", at, key)
				continue
			}
			missing(t, at+"."+key, f.Type, value, text)
		}
	}
}

func TestConfigurationErrorsNameKeyAndLine(t *testing.T) {
	t.Setenv("PGWITNESS_TEST_SECRET", "s3cret")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		want       []string // parts of the error; none: valid
	}{
		{"valid with secrets", "clickhouse:\n  dsn: clickhouse://u:${PGWITNESS_TEST_SECRET}@h:9000\nengines: ${file:" + secret + "}\n" + minimal, nil},
		{"unknown key", "streems: []\n" + minimal, []string{"conf.yaml", "[1:1]", `unknown field "streems"`}},
		{"unknown key deep", minimal + "        resorce: x\n", []string{"[5:9]", `unknown field "resorce"`}},
		{"wrong type", "batch:\n  rows: many\n" + minimal, []string{"[2:9]", "rows: many"}},
		{"not YAML", "batch: [\n", []string{"conf.yaml"}},
		{"empty", "", []string{"is empty"}},
		{"missing variable", "engines: ${NO_SUCH_VARIABLE_HERE}\n" + minimal, []string{"conf.yaml:1: engines: ", "NO_SUCH_VARIABLE_HERE is not set"}},
		{"missing file", "engines: ${file:/no/such/file}\n" + minimal, []string{"conf.yaml:1: engines: ", "no such file"}},
		{"every problem at once", "log:\n  level: loud\nbatch:\n  window: 5h\n" + minimal, []string{"conf.yaml:2: log.level: ", "conf.yaml:4: batch.window: "}},
		{"no streams", "log:\n  level: info\n", []string{"streams: names no database"}},
		{"bad rule", minimal + "    actions:\n      - name: x\n        action: fly\n", []string{"conf.yaml:7: streams[0].actions[0].action: "}},
		{"bad guard", minimal + "    guards:\n      - name: big\n        table: refunds\n        operations: [insert]\n        require:\n          mfa_within: 1ms\n", []string{"conf.yaml:7: streams[0].guards[0].table: ", "conf.yaml:10: streams[0].guards[0].require.mfa_within: "}},
		{"guard of an unknown action", minimal + "    guards:\n      - name: big\n        table: public.refunds\n        operations: [insert]\n        action: fly\n        require: {actor: true}\n", []string{"conf.yaml:9: streams[0].guards[0].action: "}},
		{"guard that shows a secret", "streams:\n  - name: shop\n    tables:\n      - name: public.keys\n        secret: [hash]\n    guards:\n      - {name: k, table: public.keys, operations: [insert], show: [hash], require: {actor: true}}\n", []string{"conf.yaml:7: streams[0].guards[0].show[0]: "}},
		{"secret key", "streams:\n  - name: shop\n    tables:\n      - name: public.keys\n        secret: [hash]\n        key: [hash]\n", []string{"conf.yaml:5: streams[0].tables[0].secret[0]: "}},
		{"bad table", "streams:\n  - name: shop\n    tables:\n      - name: orders\n", []string{"conf.yaml:4: streams[0].tables[0].name: "}},
		{"bad clickhouse DSN", "clickhouse:\n  dsn: http://x\n" + minimal, []string{"conf.yaml:2: clickhouse.dsn: "}},
		{"bad postgres DSN", "streams:\n  - name: shop\n    postgres:\n      dsn: \"postgres://a b\"\n    tables:\n      - name: public.*\n", []string{"conf.yaml:4: streams[0].postgres.dsn: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseConfig("conf.yaml", []byte(c.text))
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error lacks %q:\n%v", part, err)
				}
			}
			if audit.Hint(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

// A personal value must not get into the trail by another way.
func TestPersonalColumnsAreRefusedWhereTheyWouldShow(t *testing.T) {
	const text = `streams:
  - name: shop
    postgres: {dsn: "postgres://x@localhost/x"}
    tables:
      - name: public.customers
        key: [email]
        secret: [code]
        actor_column: email
        subject: "customer:{code}"
        personal: {email: {class: email}}
    guards:
      - {name: g, table: public.customers, operations: [update], show: [email], require: {actor: true}}
`
	_, err := ParseConfig("x.yaml", []byte(text))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`x.yaml:8: streams[0].tables[0].actor_column: "email" is a personal column`,
		`x.yaml:9: streams[0].tables[0].subject: "code" is a secret column`,
		`streams[0].guards[0].show[0]: "email" is a personal column of public.customers`,
		`streams[0].guards[0].table: the key of public.customers has the personal column "email"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}
