package trail

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/pgwitness/pgwitness/store"
)

// keptOpen is how long a connection waits for the next question. The questions
// of one verb follow each other within milliseconds, and connecting can take
// longer than the answer.
const keptOpen = time.Second

// connections are those to one server: one for each question that is being
// asked, and at most one that waits for the next.
type connections struct {
	server store.Server

	mu     sync.Mutex
	idle   *ch.Client // nil: none waits
	expiry *time.Timer
}

// with calls do with a connection that nobody else has. One on which do failed
// is closed.
func (c *connections) with(ctx context.Context, do func(*ch.Client) error) error {
	client, err := c.take(ctx)
	if err != nil {
		return fmt.Errorf("read the trail: %w", err)
	}
	sound := false
	defer func() {
		if !sound || !c.keep(client) {
			client.Close() // nothing was written: an error now changes nothing
		}
	}()
	if err := do(client); err != nil {
		return err
	}
	sound = true
	return nil
}

func (c *connections) take(ctx context.Context) (*ch.Client, error) {
	c.mu.Lock()
	client := c.idle
	c.idle = nil
	if client != nil {
		c.expiry.Stop()
	}
	c.mu.Unlock()
	if client != nil {
		return client, nil
	}
	return c.server.Dial(ctx)
}

// keep lets client wait for the next question, and reports false when another
// one does.
func (c *connections) keep(client *ch.Client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil || client.IsClosed() {
		return false
	}
	c.idle = client
	c.expiry = time.AfterFunc(keptOpen, func() { c.expire(client) })
	return true
}

func (c *connections) expire(client *ch.Client) {
	c.mu.Lock()
	waits := c.idle == client
	if waits {
		c.idle = nil
	}
	c.mu.Unlock()
	if waits {
		client.Close() // as above
	}
}
