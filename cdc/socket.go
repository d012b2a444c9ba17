package cdc

import (
	"context"
	"fmt"
	"net"
	"time"
)

// socket is a connection taken over from pgconn, read through the wire that
// pgconn read through. One goroutine reads it.
type socket struct {
	conn net.Conn
	wire *wire

	deadline    time.Time     // set on conn for reading
	unwatch     func() bool   // ends the watch over the ctx of Run
	interrupted chan struct{} // closed when the watch has set its deadline
}

// watch makes the end of ctx interrupt a read, now and later.
func (s *socket) watch(ctx context.Context) {
	s.interrupted = make(chan struct{})
	s.unwatch = context.AfterFunc(ctx, func() {
		defer close(s.interrupted)
		s.conn.SetReadDeadline(longAgo())
	})
}

// release ends the watch: whoever goes on reading sets deadlines of his own.
func (s *socket) release() {
	if !s.unwatch() {
		<-s.interrupted
	}
}

// longAgo is a deadline that has passed.
func longAgo() time.Time { return time.Unix(1, 0) }

// arm prepares conn for a read that ends at the deadline or when ctx ends. The
// end of ctx sets a deadline in the past; because ctx is looked at after ours
// is set, the two cannot miss each other.
func (s *socket) arm(ctx context.Context, deadline time.Time) error {
	if ctx.Err() != nil {
		deadline = longAgo()
	}
	if deadline.Equal(s.deadline) {
		return nil
	}
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("read from the server: %w", err)
	}
	s.deadline = deadline
	if ctx.Err() != nil {
		return s.conn.SetReadDeadline(longAgo())
	}
	return nil
}

// write sends b, which the server has to take within writeTimeout.
func (s *socket) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	return nil
}
