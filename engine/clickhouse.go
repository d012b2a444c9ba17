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

	"github.com/pgwitness/pgwitness/audit"
)

// Admin is the user of an embedded ClickHouse that may do everything.
const Admin = "admin"

// ClickHouseConfig describes one embedded ClickHouse.
type ClickHouseConfig struct {
	// Library is the file libchdb.so: Parts.ClickHouse.
	Library string
	// Dir is where the engine keeps everything: data, users, passwords, logs. It is made when
	// missing and belongs to this engine alone.
	Dir string
	// TCPPort and HTTPPort are the loopback ports of the native and the HTTP protocol; 0 chooses a
	// free one and keeps it as long as the ClickHouse lives.
	TCPPort, HTTPPort int
	// Users are the users beside Admin, which is always there.
	Users []User
	// Roles are what the Users' grants may name.
	Roles []Role
	// MemoryLimit bounds the whole engine, in bytes; 0 means 2 GiB.
	MemoryLimit int64
	// KeepFree is how many bytes of a disk the engine leaves alone: inserts and merges that would
	// need them are refused before they begin. 0 means 256 MiB.
	KeepFree int64
	// Executable is the command line that serves the engine: it must call ServeClickHouse with the
	// values of --config and --library, which are appended. Empty means our own executable with
	// `engine serve-clickhouse`.
	Executable []string
	// Log receives what the child writes, beside the file clickhouse.out in Dir; may be nil. The
	// engine's own log is clickhouse.log in Dir.
	Log io.Writer
}

// ClickHouse is one embedded ClickHouse engine. Its methods may be called from any goroutine.
//
// BUG(pgwitness): libchdb 26.7.2 drops the errors of write(2): on a disk that becomes full in the middle
// of an insert or a merge it reports success and keeps files of zero bytes. ClickHouse's own server reports
// "Cannot write to file …, errno: 28". Hence KeepFree: what has begun still finds its room.
type ClickHouse struct {
	config ClickHouseConfig

	mu        sync.Mutex // guards all below; held while starting and stopping
	tcp, http int
	passwords map[string]string
	child     *process
	stdin     *os.File // closing it asks the child to stop
}

// NewClickHouse returns an engine that is not running yet. It touches nothing.
func NewClickHouse(config ClickHouseConfig) *ClickHouse {
	config.Dir = absolute(config.Dir)
	if config.MemoryLimit == 0 {
		config.MemoryLimit = 2 << 30
	}
	if config.KeepFree == 0 {
		config.KeepFree = 256 << 20
	}
	return &ClickHouse{config: config, tcp: config.TCPPort, http: config.HTTPPort}
}

// Run starts the engine, waits for the end of ctx and stops it. The end of the engine itself is an
// error.
func (c *ClickHouse) Run(ctx context.Context) error {
	if err := c.Start(ctx); err != nil {
		return err
	}
	return superviseUntil(ctx, "clickhouse", c.Done(), c.Stop)
}

// Start writes the configuration, starts the engine and returns when it answers on both ports. An
// engine that runs already is left alone.
func (c *ClickHouse) Start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.child.exited() {
		return nil
	}
	movable := c.child == nil // nobody knows the ports yet
	if err := c.prepare(); err != nil {
		return err
	}
	err := retryPort(ctx, func() error {
		if movable {
			c.tcp, c.http = c.config.TCPPort, c.config.HTTPPort
		}
		return c.launch(ctx)
	})
	if err != nil {
		return err
	}
	return c.openQueryLog(ctx)
}

// SetUsers replaces the users and roles. They take effect at the next Start: the engine reads its
// users file once.
func (c *ClickHouse) SetUsers(users []User, roles []Role) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config.Users, c.config.Roles = users, roles
}

// prepare writes the files whose content does not depend on the ports.
func (c *ClickHouse) prepare() error {
	if !isFile(c.config.Library) {
		return audit.WithHint(fmt.Errorf("find clickhouse library: no file %q", c.config.Library),
			"run `npm ci --prefix engines`, or name a ClickHouse server by its DSN")
	}
	if err := os.MkdirAll(c.config.Dir, 0o700); err != nil {
		return fmt.Errorf("make clickhouse folder: %w", err)
	}
	passwords, err := c.writeUsers()
	if err != nil {
		return err
	}
	c.passwords = passwords
	return nil
}

// launch starts the child on the ports that c has or draws, and waits until it answers.
func (c *ClickHouse) launch(ctx context.Context) error {
	for _, port := range []*int{&c.tcp, &c.http} {
		if err := drawPort(port); err != nil {
			return fmt.Errorf("start clickhouse: %w", err)
		}
	}
	if err := c.shelveQueryLog(); err != nil {
		return err
	}
	if err := writeFile(c.path("config.xml"), c.configXML()); err != nil {
		return err
	}
	log, err := openOutput(c.path("clickhouse.out"), c.config.Log)
	if err != nil {
		return err
	}
	defer log.file.Close() // the child has its own copy or a pipe
	if err := c.spawn(log); err != nil {
		return err
	}
	return c.ready(ctx, log)
}

// spawn starts the child with a pipe as its standard input, whose end is ours.
func (c *ClickHouse) spawn(log *output) error {
	argv, err := c.commandLine()
	if err != nil {
		return err
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	defer theirs.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = c.config.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, log.stream(), log.stream()
	child, err := spawn(cmd, syscall.SIGKILL)
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	c.child, c.stdin = child, ours
	return nil
}

func (c *ClickHouse) commandLine() ([]string, error) {
	argv := c.config.Executable
	if len(argv) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("start clickhouse: %w", err)
		}
		argv = []string{self, "engine", "serve-clickhouse"}
	}
	argv = append(argv[:len(argv):len(argv)], "--config", c.path("config.xml"))
	return append(argv, "--library", absolute(c.config.Library)), nil
}

// refusal is what the engine writes when it cannot open a port; it stays idle then.
const refusal = "Received exception"

// ready waits until the engine answers on both ports. A child that ended or gave up says why in its
// output.
func (c *ClickHouse) ready(ctx context.Context, log *output) error {
	for {
		err := c.ping(ctx)
		if err == nil {
			return nil
		}
		if said := log.text(); strings.Contains(said, refusal) {
			return errors.Join(startError("clickhouse", nil, said), c.child.kill(), c.closeInput())
		}
		select {
		case <-c.child.done:
			return errors.Join(startError("clickhouse", c.child.err, log.text()), c.closeInput())
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(
				fmt.Errorf("start clickhouse: %w; it last answered: %w", context.Cause(ctx), err),
				c.child.kill(), c.closeInput())
		}
	}
}

// Stop ends the running queries, flushes the query log and returns when the engine is gone. When
// ctx ends first the engine is killed: stored data survives that as well. An engine that is not
// running is no error.
func (c *ClickHouse) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child.exited() {
		return c.closeInput()
	}
	if err := c.closeInput(); err != nil {
		return err
	}
	if err := c.child.wait(ctx); err != nil {
		return fmt.Errorf("stop clickhouse: %w", err)
	}
	return nil
}

// Kill ends the engine with SIGKILL, as a power cut would.
func (c *ClickHouse) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child.exited() {
		return c.closeInput()
	}
	if err := errors.Join(c.child.kill(), c.closeInput()); err != nil {
		return fmt.Errorf("kill clickhouse: %w", err)
	}
	return nil
}

func (c *ClickHouse) closeInput() error {
	if c.stdin == nil {
		return nil
	}
	err := c.stdin.Close()
	c.stdin = nil
	if err != nil {
		return fmt.Errorf("close standard input of clickhouse: %w", err)
	}
	return nil
}

// Done is closed when the engine that the last Start started has ended; nil before the first.
func (c *ClickHouse) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child == nil {
		return nil
	}
	return c.child.done
}

// DSN returns a user's address for clickhouse-go and its native protocol, with the password in it.
// It is meaningful after the first Start.
func (c *ClickHouse) DSN(user, database string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := url.URL{
		Scheme: "clickhouse",
		User:   url.UserPassword(user, c.passwords[user]),
		Host:   address(c.tcp),
		Path:   "/" + database,
	}
	return u.String()
}

// HTTPURL is the address of the HTTP protocol; credentials go into the headers X-ClickHouse-User
// and X-ClickHouse-Key.
func (c *ClickHouse) HTTPURL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.httpURL()
}

func (c *ClickHouse) httpURL() string { return "http://" + address(c.http) }

// Password returns the password of a user: the one given or the one made up. It is known after the
// first Start.
func (c *ClickHouse) Password(user string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.passwords[user]
}

// PID is the process id of the child; 0 before the first Start.
func (c *ClickHouse) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child == nil {
		return 0
	}
	return c.child.pid
}

// path is a file of the engine's folder.
func (c *ClickHouse) path(name string) string { return filepath.Join(c.config.Dir, name) }
