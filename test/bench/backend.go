package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Backend is a connection and the server process behind it.
type Backend struct {
	Conn *pgx.Conn
	pid  uint32
}

// NewBackend takes over conn.
func NewBackend(conn *pgx.Conn) *Backend { return &Backend{conn, conn.PgConn().PID()} }

// Cost is what a stretch of work took.
type Cost struct {
	WAL int64         // bytes written into the log of the server, by anybody
	Log int64         // bytes written into the server's log for people
	CPU time.Duration // of this backend, in user and system mode
}

// Measure runs work and tells what it cost.
func (b *Backend) Measure(ctx context.Context, work func() error) (Cost, error) {
	before, err := b.state(ctx)
	if err != nil {
		return Cost{}, err
	}
	if err := work(); err != nil {
		return Cost{}, err
	}
	after, err := b.state(ctx)
	return Cost{after.WAL - before.WAL, after.Log - before.Log, after.CPU - before.CPU}, err
}

// state is what was spent up to now. The processor is read closest to the work.
func (b *Backend) state(ctx context.Context) (Cost, error) {
	var c Cost
	var err error
	const sizes = `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, (SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_logdir())`
	if err := b.Conn.QueryRow(ctx, sizes).Scan(&c.WAL, &c.Log); err != nil {
		return c, fmt.Errorf("measure backend: %w", err)
	}
	c.CPU, err = processTime(b.pid)
	return c, err
}

// processTime is what a process has spent on processors: in nanoseconds where
// the kernel counts them, in ticks of 10 ms else.
func processTime(pid uint32) (time.Duration, error) {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		if n, err := strconv.ParseInt(first, 10, 64); err == nil && n > 0 {
			return time.Duration(n), nil
		}
	}
	return OwnTime(int(pid))
}
