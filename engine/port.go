package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// loopback is the only address the engines listen on.
const loopback = "127.0.0.1"

// Free ports are drawn from below the range that operating systems hand out to outgoing
// connections, so that no client takes an engine's port while it restarts.
const (
	firstPort = 15000
	lastPort  = 32000
	portTries = 100
)

// startTries is how often an engine is started over when its port turns out to be taken.
const startTries = 5

// errPortTaken says that an engine found its port in use: with a port of our choice, try again.
var errPortTaken = errors.New("port is taken")

// freePort returns a loopback port that nobody listens on now. Somebody may take it before the
// engine does; the engine's Start then draws again.
func freePort() (int, error) {
	var last error
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if last = probePort(port); last == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("choose a free port on %s: %w", loopback, last)
}

// drawPort chooses a free port where none is given. A given one must be free, or else its clients
// would meet a stranger there while the engine tries.
func drawPort(port *int) error {
	if *port != 0 {
		if err := probePort(*port); err != nil {
			return fmt.Errorf("%w: %w", errPortTaken, err)
		}
		return nil
	}
	free, err := freePort()
	*port = free
	return err
}

// probePort returns nil when port can be listened on.
func probePort(port int) error {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return err
	}
	return listener.Close()
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// retryPort starts an engine again while its port is taken: by somebody else, if start draws
// another one, or by the engine's own last connections, if it must have this one.
func retryPort(ctx context.Context, start func() error) error {
	for try := 1; ; try++ {
		err := start()
		if !errors.Is(err, errPortTaken) || try == startTries {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
