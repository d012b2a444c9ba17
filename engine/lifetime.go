package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// stopGrace is how long Run lets an engine shut down in order.
const stopGrace = 30 * time.Second

// superviseUntil waits for the end of ctx and then stops an engine. An engine that ends on its own
// is an error.
func superviseUntil(
	ctx context.Context, name string, ended <-chan struct{}, stop func(context.Context) error,
) error {
	select {
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		return stop(grace)
	case <-ended:
		return fmt.Errorf("run %s: it ended by itself; its log says why", name)
	}
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startError tells why an engine ended instead of starting, in the engine's own words.
func startError(name string, ended error, said string) error {
	for _, sign := range []string{"Address already in use", "could not bind", "Address in use"} {
		if strings.Contains(said, sign) {
			return fmt.Errorf("start %s: %w: %s", name, errPortTaken, said)
		}
	}
	if ended == nil {
		ended = errors.New("it ended by itself")
	}
	return fmt.Errorf("start %s: %w: %s", name, ended, said)
}
