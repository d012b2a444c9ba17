package sink

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/pgwitness/pgwitness/store"
)

// idle is after how long a connection is tried before it is trusted: servers
// and middleboxes close connections on which nothing happens.
const idle = 30 * time.Second

// link is one connection to ClickHouse that is opened when it is needed and
// thrown away after any error, because the two sides may then disagree about
// what was said. One user at a time.
type link struct {
	server store.Server

	mu     sync.Mutex
	client *ch.Client
	used   time.Time
}

// do lends the connection to f.
func (l *link) do(ctx context.Context, f func(*ch.Client) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil && time.Since(l.used) > idle && l.client.Ping(ctx) != nil {
		l.drop()
	}
	if l.client == nil {
		client, err := l.server.Dial(ctx)
		if err != nil {
			return err
		}
		l.client = client
	}
	l.used = time.Now()
	if err := f(l.client); err != nil {
		l.drop()
		return l.server.Explain(err)
	}
	return nil
}

// drop forgets the connection. That it cannot be closed properly is of no
// interest: it is closed because it is broken.
func (l *link) drop() {
	_ = l.client.Close()
	l.client = nil
}

func (l *link) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return nil
	}
	err := l.client.Close()
	l.client = nil
	if errors.Is(err, ch.ErrClosed) {
		return nil
	}
	return err
}
