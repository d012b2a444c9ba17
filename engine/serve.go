package engine

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"time"
)

// stopSection is the part of the configuration file that is for ServeClickHouse: as whom it may end
// the query that keeps the engine running.
const stopSection = "pgwitness"

// serveQuery opens the ports and then never ends; the engine lives as long as this query does.
const serveQuery = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP;" +
	" SELECT sleepEachRow(1) FROM system.numbers" +
	" SETTINGS max_block_size=1, function_sleep_max_microseconds_per_block=0 FORMAT Null"

// stopStatement ends serveQuery, and with it the engine, which then shuts down in order. All other
// queries end first, so that no insert is cut off in the middle of the shutdown.
const stopStatement = "KILL QUERY WHERE query_id != queryID() ASYNC"

// drainTime is how long the engine may take to shut down before the process ends regardless. What
// it acknowledged is on disk either way.
const drainTime = 15 * time.Second

// ServeClickHouse runs inside the child process: it loads the engine library and serves the ports
// that configFile names, until ctx ends or standard input closes, which is how the child notices
// that its parent is gone. The process must end after it returns, for the library cannot be
// unloaded.
func ServeClickHouse(ctx context.Context, configFile, library string) error {
	stop, err := readStop(configFile)
	if err != nil {
		return err
	}
	run, err := loadEngine(library)
	if err != nil {
		return err
	}
	session, err := openTerminal()
	if err != nil {
		return fmt.Errorf("serve clickhouse: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- run("clickhouse", "--config-file", configFile, "--interactive", "--query", serveQuery)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve clickhouse: %w", err)
	case <-ctx.Done():
	case <-closed(session.parent):
	}
	return stop.drain(ended, session)
}

// closed is closed when the other end of a pipe is.
func closed(input *os.File) <-chan struct{} {
	end := make(chan struct{})
	go func() {
		defer close(end)
		// Nothing is ever sent; a read returns when the other end is gone.
		_, _ = input.Read(make([]byte, 1))
	}()
	return end
}

// stopOrder is how to reach the engine from within.
type stopOrder struct {
	HTTPPort int    `xml:"http_port"`
	User     string `xml:"pgwitness>user"`
	Password string `xml:"pgwitness>password"`
}

func readStop(configFile string) (*stopOrder, error) {
	text, err := os.ReadFile(configFile)
	if err != nil {
		return nil, fmt.Errorf("read clickhouse configuration: %w", err)
	}
	var stop stopOrder
	if err := xml.Unmarshal(text, &stop); err != nil {
		return nil, fmt.Errorf("read clickhouse configuration %s: %w", configFile, err)
	}
	return &stop, nil
}

// drain ends the queries and waits until the engine has shut down.
func (s *stopOrder) drain(ended <-chan error, session *terminal) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	url := "http://" + address(s.HTTPPort)
	for {
		// The answer may be lost with the engine that gives it: only the end counts.
		_, refused := request(ctx, url, s.User, s.Password, stopStatement)
		if err := session.hangUp(); err != nil {
			return fmt.Errorf("stop clickhouse: %w", err)
		}
		select {
		case <-ended:
			return nil // a cancelled query is how it ends
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("stop clickhouse: %w", ctx.Err()), refused)
		}
	}
}
