package main

import (
	"context"
	"time"

	"github.com/pgwitness/pgwitness"
)

type demoCmd struct {
	Keep     bool          `help:"Leave everything up afterwards and say how to connect."`
	Dir      string        `type:"path" help:"Folder for the engines' data; a temporary one if not given."`
	Engines  string        `type:"path" help:"Folder of the embedded engines."`
	Duration time.Duration `default:"10s" help:"Duration of the traffic (${default})."`
	Rate     float64       `default:"400" help:"Deeds of the shop per second; 0: as fast as it goes (${default})."`
	Verbose  bool          `short:"v" help:"Show the logs of the sidecar, too."`
}

func (c *demoCmd) Run(ctx context.Context, e *env) error {
	o := pgwitness.DemoOptions{
		Keep: c.Keep, Dir: c.Dir, Engines: c.Engines, Duration: c.Duration, Rate: c.Rate,
		Terminal: isTerminal(e.stdout), Verbose: c.Verbose,
	}
	log := logger(pgwitness.LogConfig{Level: "info", Format: "console"}, e.stderr)
	return pgwitness.RunDemo(ctx, o, log, e.stdout)
}
