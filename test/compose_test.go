package test

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/pgwitness/pgwitness"
)

// composeFile is the part of docker-compose.yml that the tests look at.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
}

type composeService struct {
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []string          `yaml:"volumes"`
	Ports       []string          `yaml:"ports"`
	DependsOn   map[string]any    `yaml:"depends_on"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	SecurityOpt []string          `yaml:"security_opt"`
}

func readTop(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var compose composeFile
	if err := yaml.Unmarshal([]byte(readTop(t, "docker-compose.yml")), &compose); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	if len(compose.Services) < 4 {
		t.Fatalf("got %d services, want postgres, clickhouse, setup and pgwitness at least", len(compose.Services))
	}
	return compose
}

func TestComposeRefersToWhatExists(t *testing.T) {
	compose := readCompose(t)
	for name, service := range compose.Services {
		for other := range service.DependsOn {
			if _, ok := compose.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if !strings.HasPrefix(source, "./") {
				if _, ok := compose.Volumes[source]; !ok {
					t.Errorf("%s uses the volume %s, which is not declared", name, source)
				}
			} else if _, err := os.Stat(filepath.Join(top, source)); err != nil {
				t.Errorf("%s mounts %s: %v", name, source, err)
			}
		}
	}
}

func TestComposeIsHardened(t *testing.T) {
	for name, service := range readCompose(t).Services {
		if !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s can gain privileges", name)
		}
		if _, tag, _ := strings.Cut(service.Image, ":"); tag == "" || tag == "latest" {
			t.Errorf("%s: the image %q is of no particular version", name, service.Image)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s to the network", name, port)
			}
		}
		if strings.HasPrefix(service.Image, "pgwitness:") && (!service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"})) {
			t.Errorf("%s: our own image needs no capability and writes to its volume only", name)
		}
	}
}

var variable = regexp.MustCompile(`\$\{(\w+)(:[-?][^}]*)?\}`)

func TestComposeSecretsAreInTheExample(t *testing.T) {
	example := map[string]bool{}
	for line := range strings.Lines(readTop(t, ".env.example")) {
		if name, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			example[name] = true
		}
	}
	compose := readTop(t, "docker-compose.yml")
	used := map[string]bool{}
	demanded := map[string]bool{}
	for _, m := range variable.FindAllStringSubmatch(compose, -1) {
		used[m[1]] = true
		demanded[m[1]] = demanded[m[1]] || m[2] != ""
	}
	for name := range used {
		if !example[name] && name != "PGWITNESS_VERSION" {
			t.Errorf(".env.example has no %s", name)
		}
		if !demanded[name] {
			t.Errorf("%s may be missing without anybody noticing: write ${%s:?…} once", name, name)
		}
	}
	for name := range example {
		if !used[name] {
			t.Errorf(".env.example has %s, which docker-compose.yml does not use", name)
		}
	}
}

// TestComposeConfiguration loads the mounted configuration in the environment
// that each of our services gets, and no other.
func TestComposeConfiguration(t *testing.T) {
	users := clickhouseUsers(t)
	for name, service := range readCompose(t).Services {
		if !strings.HasPrefix(service.Image, "pgwitness:") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for key, value := range service.Environment {
				t.Setenv(key, variable.ReplaceAllString(value, "secret"))
			}
			cfg, err := pgwitness.LoadConfig(filepath.Join(top, "configs/compose/pgwitness.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			isSetup := name == "setup"
			if got := cfg.ClickHouse.AdminDSN != "" && cfg.Streams[0].Postgres.AdminDSN != ""; got != isSetup {
				t.Errorf("has the passwords of the administrators: got %v, want %v", got, isSetup)
			}
			admin, _, _ := strings.Cut(strings.TrimPrefix(cfg.ClickHouse.AdminDSN, "clickhouse://"), ":")
			if _, ok := users[admin]; isSetup && !ok {
				t.Errorf("connects as %q, whom configs/clickhouse/users.d does not define", admin)
			}
		})
	}
}

func TestComposeClickHousePasswords(t *testing.T) {
	environment := readCompose(t).Services["clickhouse"].Environment
	for user, password := range clickhouseUsers(t) {
		if _, ok := environment[password]; !ok {
			t.Errorf("%s: its password is %q in the environment, which the service does not set", user, password)
		}
	}
}

// clickhouseUsers returns the users of the shipped users file, each with the
// environment variable of its password.
func clickhouseUsers(t *testing.T) map[string]string {
	t.Helper()
	users := map[string]string{}
	var path []string
	decoder := xml.NewDecoder(strings.NewReader(readTop(t, "configs/clickhouse/users.d/pgwitness.xml")))
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path, token.Name.Local)
			if len(path) == 4 && path[3] == "password" {
				users[path[2]] = token.Attr[0].Value
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
	if len(users) == 0 {
		t.Fatal("found no user with a password")
	}
	return users
}
