package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that owns an embedded PostgreSQL.
const Superuser = "postgres"

// PostgresConfig describes one embedded PostgreSQL.
type PostgresConfig struct {
	// BinDir is the folder with postgres and initdb: Parts.Postgres, or a distribution's.
	BinDir string
	// Dir is where the server keeps everything: data, password, log. It is made when missing and
	// belongs to this server alone. Under root its parents must let an unprivileged user pass.
	Dir string
	// Port is the loopback port; 0 chooses a free one and keeps it as long as the Postgres lives.
	Port int
	// Settings are lines of postgresql.conf, over our own defaults; ALTER SYSTEM goes over both.
	// With fsync=off the data folder is made without waiting for the disk, too: for tests.
	Settings map[string]string
	// Template is the Dir of another Postgres of the same version, stopped, whose data this one
	// begins with. It saves the second that initdb takes; the two share their system identifier.
	// Empty means initdb.
	Template string
	// Log receives what the server writes, beside the file postgres.log in Dir; may be nil.
	Log io.Writer
}

// Postgres is one embedded PostgreSQL server. Its methods may be called from any goroutine.
type Postgres struct {
	config PostgresConfig

	mu       sync.Mutex // guards all below; held while starting and stopping
	port     int
	version  string
	password string
	child    *process
}

// NewPostgres returns a server that is not running yet. It touches nothing.
func NewPostgres(config PostgresConfig) *Postgres {
	config.Dir = absolute(config.Dir)
	return &Postgres{config: config, port: config.Port}
}

// Run starts the server, waits for the end of ctx and stops it. The end of the server itself is an
// error.
func (p *Postgres) Run(ctx context.Context) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	return superviseUntil(ctx, "postgres", p.Done(), p.Stop)
}

// Start makes the data folder at first use, starts the server and returns when it accepts
// connections. A server that runs already is left alone.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.child.exited() {
		return nil
	}
	movable := p.config.Port == 0 && p.child == nil // nobody knows the port yet
	s, err := p.prepare(ctx)
	if err != nil {
		return err
	}
	return retryPort(ctx, func() error {
		if movable {
			p.port = 0
		}
		return p.launch(ctx, s)
	})
}

// prepare makes everything that a start needs and that a crash may leave half done: each step
// looks at what is there and does the rest.
func (p *Postgres) prepare(ctx context.Context) (*postgresSite, error) {
	s, err := openPostgresSite(ctx, p.config)
	if err != nil {
		return nil, err
	}
	p.version = s.version
	if p.password, err = s.ensurePassword(); err != nil {
		return nil, err
	}
	if err := s.ensureData(ctx, p.password); err != nil {
		return nil, err
	}
	return s, nil
}

// launch starts the server on the port that p has or draws, and waits until it answers.
func (p *Postgres) launch(ctx context.Context, s *postgresSite) error {
	if err := drawPort(&p.port); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := s.writeSettings(p.port, p.config.Settings); err != nil {
		return err
	}
	log, err := openOutput(filepath.Join(p.config.Dir, "postgres.log"), p.config.Log)
	if err != nil {
		return err
	}
	defer log.file.Close() // the child has its own copy or a pipe
	cmd := s.command("postgres", "-D", s.data)
	cmd.Stdout, cmd.Stderr = log.stream(), log.stream()
	child, err := spawn(cmd, syscall.SIGQUIT)
	if err != nil {
		return err
	}
	p.child = child
	return p.ready(ctx, log)
}

// ready waits until the server accepts a connection. A server that ended says why in its log.
func (p *Postgres) ready(ctx context.Context, log *output) error {
	for {
		err := answers(ctx, p.dsn("postgres"))
		if err == nil {
			return nil
		}
		select {
		case <-p.child.done:
			return startError("postgres", p.child.err, log.text())
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(
				fmt.Errorf("start postgres: %w; it last answered: %w", context.Cause(ctx), err),
				p.child.kill())
		}
	}
}

// answers returns nil when the server at dsn lets us in. One that accepts but stays silent, such as
// a stranger on our port, gets a second.
func answers(ctx context.Context, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// Stop asks the server to end all sessions and to shut down in order, and returns when it is gone.
// When ctx ends first the server is killed; it recovers at the next Start. A server that is not
// running is no error.
func (p *Postgres) Stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child.exited() {
		return nil
	}
	if err := p.child.signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	if err := p.child.wait(ctx); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	return nil
}

// Kill ends the server and all its backends with SIGKILL. The next Start recovers from the
// write-ahead log, as after a power cut.
func (p *Postgres) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child.exited() {
		return nil
	}
	if err := p.child.kill(); err != nil {
		return fmt.Errorf("kill postgres: %w", err)
	}
	return nil
}

// Done is closed when the server that the last Start started has ended; nil before the first.
func (p *Postgres) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return nil
	}
	return p.child.done
}

// DSN returns the superuser's connection string for a database, with the password in it. It is
// meaningful after the first Start.
func (p *Postgres) DSN(database string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dsn(database)
}

func (p *Postgres) dsn(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(Superuser, p.password),
		Host:     address(p.port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Port is the loopback port; 0 before the first Start when none was configured.
func (p *Postgres) Port() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.port
}

// Version is the server's own, such as 18.4; known after the first Start.
func (p *Postgres) Version() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// PID is the process id of the postmaster; 0 before the first Start.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return 0
	}
	return p.child.pid
}

// PostgresVersion asks the programs in binDir for their version, such as 15.18. Those of a fresh npm
// package find their libraries only once its links are restored.
func PostgresVersion(ctx context.Context, binDir string) (string, error) {
	if err := restoreLinks(binDir); err != nil && !errors.Is(err, os.ErrPermission) {
		return "", err
	}
	return versionOf(exec.CommandContext(ctx, filepath.Join(binDir, "postgres"), "--version"))
}

// versionOf runs `postgres --version` and takes the number out of "postgres (PostgreSQL) 15.18
// (Debian 15.18-0+deb12u1)".
func versionOf(cmd *exec.Cmd) (string, error) {
	var complaint strings.Builder
	cmd.Stderr = &complaint
	answer, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w %s", cmd.Path, err, complaint.String())
	}
	_, rest, found := strings.Cut(string(answer), "(PostgreSQL) ")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return "", fmt.Errorf("ask %s for its version: it answered %q", cmd.Path, answer)
	}
	return fields[0], nil
}

// isRoot reports whether we run as the user that PostgreSQL refuses.
func isRoot() bool { return os.Geteuid() == 0 }
