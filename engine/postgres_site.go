package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pgwitness/pgwitness/audit"
)

// settingsFile is the part of the configuration that is ours. It is written at every start and
// included by postgresql.conf, so that ALTER SYSTEM, which comes later, wins.
const settingsFile = "pgwitness.conf"

// postgresDefaults suit a small machine and an audited database: logical decoding on, room for a
// few sidecars, one entrance.
func postgresDefaults() map[string]string {
	return map[string]string{
		"listen_addresses":        loopback,
		"unix_socket_directories": "",
		"password_encryption":     "scram-sha-256",
		"wal_level":               "logical",
		"max_wal_senders":         "20",
		"max_replication_slots":   "20",
		"max_connections":         "100",
		"shared_buffers":          "64MB",
		"log_line_prefix":         "%m [%p] %q%u@%d ",
	}
}

// postgresSite is a server's place on disk: which programs run, as whom, on which data.
type postgresSite struct {
	config  PostgresConfig
	user    *runUser // nil: as ourselves
	bin     string
	version string
	data    string // PGDATA
}

// openPostgresSite makes the folder and finds programs in it or in BinDir that run.
func openPostgresSite(ctx context.Context, config PostgresConfig) (*postgresSite, error) {
	s := &postgresSite{config: config, bin: config.BinDir, data: filepath.Join(config.Dir, "data")}
	if isRoot() {
		user, err := unprivilegedUser()
		if err != nil {
			return nil, err
		}
		s.user = user
	}
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make postgres folder: %w", err)
	}
	if err := s.user.passable(config.Dir); err != nil {
		return nil, err
	}
	if err := s.choosePrograms(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// choosePrograms takes the programs where they are, if they run there as our user, and a copy in
// Dir if they do not: a checkout below /root is closed to the user that root drops to.
func (s *postgresSite) choosePrograms(ctx context.Context) error {
	if !isFile(filepath.Join(s.bin, "postgres")) {
		return audit.WithHint(fmt.Errorf("find postgres: no program in %s", s.bin),
			"run `npm ci --prefix engines`, or name a folder with the programs postgres and initdb")
	}
	if err := restoreLinks(s.bin); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	version, err := s.tryPrograms(ctx)
	if err == nil {
		s.version = version
		return nil
	}
	if s.bin, err = copyPrograms(s.config.BinDir, filepath.Join(s.config.Dir, "programs")); err != nil {
		return err
	}
	s.version, err = s.tryPrograms(ctx)
	return err
}

func (s *postgresSite) tryPrograms(ctx context.Context) (string, error) {
	return versionOf(s.commandContext(ctx, "postgres", "--version"))
}

// ensurePassword returns the superuser's password, which is made once and kept in a file that only
// we can read. Data that comes from a template brings the template's.
func (s *postgresSite) ensurePassword() (string, error) {
	file, err := openSecrets(filepath.Join(s.config.Dir, passwordsFile))
	if err != nil {
		return "", err
	}
	if s.config.Template != "" && len(file.names) == 0 {
		template, err := openSecrets(filepath.Join(s.config.Template, passwordsFile))
		if err != nil {
			return "", err
		}
		file.names = template.names
	}
	password := file.ensure(Superuser)
	return password, file.save()
}

// ensureData makes the data folder once. It works on a folder beside the real one that is renamed when
// complete, so that a crash in the middle leaves no half-made server: the next start begins anew.
func (s *postgresSite) ensureData(ctx context.Context, password string) error {
	if exists(filepath.Join(s.data, "PG_VERSION")) {
		return nil
	}
	draft := s.data + ".new"
	if err := os.RemoveAll(draft); err != nil {
		return fmt.Errorf("make postgres data: %w", err)
	}
	if err := s.user.mkdir(draft); err != nil {
		return fmt.Errorf("make postgres data: %w", err)
	}
	if err := s.fill(ctx, draft, password); err != nil {
		return err
	}
	if err := os.Rename(draft, s.data); err != nil {
		return fmt.Errorf("make postgres data: %w", err)
	}
	return nil
}

// fill makes the data folder out of the template or out of nothing.
func (s *postgresSite) fill(ctx context.Context, draft, password string) error {
	if s.config.Template == "" {
		if err := s.initdb(ctx, draft, password); err != nil {
			return err
		}
		return includeSettings(draft)
	}
	err := copyTree(filepath.Join(s.config.Template, "data"), draft, 0o700, 0o600)
	if err == nil {
		err = s.user.ownTree(draft)
	}
	if err != nil {
		return fmt.Errorf("copy postgres data from template: %w", err)
	}
	return nil
}

// initdb makes a database cluster whose bytes do not depend on the machine's locale.
func (s *postgresSite) initdb(ctx context.Context, draft, password string) error {
	given := filepath.Join(s.config.Dir, "pwfile")
	defer os.Remove(given)
	if err := s.user.writeFile(given, []byte(password+"\n")); err != nil {
		return fmt.Errorf("make postgres data: %w", err)
	}
	args := []string{
		"-D", draft, "-U", Superuser, "--pwfile=" + given, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions",
	}
	if s.config.Settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	said, err := s.commandContext(ctx, "initdb", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make postgres data with initdb: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

func includeSettings(data string) error {
	file, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("include our postgres settings: %w", err)
	}
	_, err = file.WriteString("\ninclude_if_exists = '" + settingsFile + "'\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("include our postgres settings: %w", err)
	}
	return nil
}

// writeSettings writes our part of the configuration.
func (s *postgresSite) writeSettings(port int, settings map[string]string) error {
	all := postgresDefaults()
	maps.Copy(all, settings)
	all["port"] = fmt.Sprint(port)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.ReplaceAll(all[name], "'", "''"))
	}
	path := filepath.Join(s.data, settingsFile)
	if err := s.user.writeFile(path, []byte(text.String())); err != nil {
		return fmt.Errorf("write postgres settings: %w", err)
	}
	return nil
}

func (s *postgresSite) command(program string, args ...string) *exec.Cmd {
	return s.prepare(exec.Command(filepath.Join(s.bin, program), args...))
}

func (s *postgresSite) commandContext(ctx context.Context, program string, args ...string) *exec.Cmd {
	return s.prepare(exec.CommandContext(ctx, filepath.Join(s.bin, program), args...))
}

// prepare makes a command run as the site's user, in a folder that this user can enter, and
// without the settings of whoever started us: PGDATA or LC_ALL would change what the server is.
func (s *postgresSite) prepare(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = s.config.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	if s.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user.credential()}
	}
	return cmd
}
