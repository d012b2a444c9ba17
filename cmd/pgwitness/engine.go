package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/engine"
)

// engineCmd runs an engine by itself, for people who want to look at it.
type engineCmd struct {
	Postgres   enginePostgresCmd   `cmd:"" help:"Run an embedded PostgreSQL until interrupted."`
	Clickhouse engineClickHouseCmd `cmd:"" help:"Run an embedded ClickHouse until interrupted."`
	Serve      engineServeCmd      `cmd:"" name:"serve-clickhouse" hidden:"" help:"The process that a ClickHouse engine runs in."`
}

type enginePostgresCmd struct {
	Dir     string `required:"" type:"path" help:"Folder that holds its data."`
	Port    int    `help:"Port on the loopback address; 0 chooses one."`
	Engines string `type:"path" help:"Folder of the engines."`
}

func (c *enginePostgresCmd) Run(ctx context.Context, e *env) error {
	parts, err := engine.Find(c.Engines)
	if err != nil && parts.Postgres == "" {
		return err
	}
	p := engine.NewPostgres(engine.PostgresConfig{BinDir: parts.Postgres, Dir: c.Dir, Port: c.Port})
	if err := p.Start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "psql '%s'\n", p.DSN("postgres"))
	return until(ctx, p.Done(), p.Stop)
}

type engineClickHouseCmd struct {
	Dir      string `required:"" type:"path" help:"Folder that holds its data."`
	Port     int    `help:"Native port on the loopback address; 0 chooses one."`
	HTTPPort int    `help:"HTTP port; 0 chooses one."`
	Engines  string `type:"path" help:"Folder of the engines."`
}

func (c *engineClickHouseCmd) Run(ctx context.Context, e *env) error {
	parts, err := engine.Find(c.Engines)
	if err != nil && parts.ClickHouse == "" {
		return err
	}
	ch := engine.NewClickHouse(engine.ClickHouseConfig{Library: parts.ClickHouse, Dir: c.Dir, TCPPort: c.Port, HTTPPort: c.HTTPPort})
	if err := ch.Start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "native: %s\nhttp:   %s (user %s, password in %s)\n",
		ch.DSN(engine.Admin, ""), ch.HTTPURL(), engine.Admin, filepath.Join(c.Dir, "passwords.json"))
	return until(ctx, ch.Done(), ch.Stop)
}

// until waits for the end of ctx or of an engine, and stops the engine.
func until(ctx context.Context, ended <-chan struct{}, stop func(context.Context) error) error {
	select {
	case <-ctx.Done():
		return stop(context.WithoutCancel(ctx))
	case <-ended:
		return audit.WithHint(errors.New("the engine ended by itself"), "its log is in its folder")
	}
}

// engineServeCmd is the child process of an embedded ClickHouse.
type engineServeCmd struct {
	Library string `required:"" type:"existingfile" help:"The file libchdb.so."`
}

func (c *engineServeCmd) Run(ctx context.Context, e *env) error {
	err := engine.ServeClickHouse(ctx, e.Config, c.Library) // --config is the engine's file here
	if err == nil {
		os.Exit(exitOK) // the library cannot be unloaded: its threads must not see main return
	}
	return err
}
