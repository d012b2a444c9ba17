package cdc

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
)

//go:embed cursor.sql
var cursorSQL string

//go:embed backlog.sql
var backlogSQL string

const (
	// frontPause is how long a backlog waits that is told to go on although
	// there is nothing to fetch.
	frontPause = 20 * time.Millisecond
	// cancelTimeout is for the server to hear that a window is not wanted.
	cancelTimeout = 2 * time.Second
	// heldTooLong is how long a window may wait for our consumer. Its statement
	// holds a snapshot, and so keeps the server from cleaning up.
	heldTooLong = time.Minute
)

// errFront ends a backlog that has come near the end of the log: from here on
// the stream is the better lane.
var errFront = errors.New("the backlog is fetched")

// backlog is the lane of a reader that is far behind. It fetches the same
// messages as the stream, by SQL: the walsender makes a system call or two for
// every message, a COPY does not, so this is several times faster. The price is
// that the server collects a window of the log before it sends the first row.
//
// It consumes from a temporary copy of the slot, the cursor, so that it need
// not wait until a window is stored before it asks for the next one. The slot
// itself is advanced to what was confirmed, by the advancer, and so keeps the
// log of everything that is not stored. When the session ends, whyever, the
// cursor is gone and the slot is where the next lane begins.
type backlog struct {
	socket
	hijacked *pgconn.HijackedConn
	line     *sideline // for questions about the cursor
	advancer *advancer
	log      zerolog.Logger

	cursor  string      // name of the temporary slot
	options [][2]string // of pgoutput
	window  uint64      // bytes of log to fetch at once
	near    uint64      // the lane ends when less than that is left; 0 means never
	silence time.Duration

	position audit.LSN // everything below was fetched
	running  bool      // a window is being fetched
	header   bool      // of the COPY, was read
	heard    time.Time // when the last message was read
	given    time.Time // when the last one was asked for
}

// openCursor makes the cursor of a backlog, in the session of a connection that
// was dialled and inspected, and puts it at from.
func openCursor(ctx context.Context, conn *pgconn.PgConn, cfg Config, from audit.LSN) (cursor string, err error) {
	if _, err := askOne(ctx, conn, backlogSQL, ""); err != nil {
		return "", fmt.Errorf("set up session for backlog: %w", err)
	}
	made, err := askOne(ctx, conn, cursorSQL, cfg.Slot)
	if err != nil {
		return "", explainCursor(cfg.Slot, err)
	}
	cursor = made.text("cursor")
	slot, err := readSlot(ctx, conn, cursor)
	if err != nil {
		return "", err
	}
	if from > slot.ConfirmedFlush {
		if err := advance(ctx, conn, cursor, from); err != nil {
			return "", err
		}
	}
	return cursor, nil
}

// advance moves a slot that nobody reads, and that is not beyond the position.
func advance(ctx context.Context, conn *pgconn.PgConn, slot string, to audit.LSN) error {
	_, err := askOne(ctx, conn, "SELECT end_lsn FROM pg_catalog.pg_replication_slot_advance($1, "+literal(to.String())+")", slot)
	if err != nil {
		return explainStart(slot, err)
	}
	return nil
}

// next implements lane.
func (b *backlog) next(ctx context.Context, deadline time.Time) (frame, error) {
	if err := b.advancer.failure(); err != nil {
		return frame{}, err
	}
	if !b.running {
		if f, begun, err := b.begin(ctx, deadline); !begun {
			return f, err
		}
	}
	for {
		if !b.wire.more() {
			if err := b.arm(ctx, deadline); err != nil {
				return frame{}, err
			}
			b.given = time.Now()
		}
		kind, body, err := b.wire.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return frame{}, b.stillThere(ctx)
		}
		if err != nil {
			return frame{}, fmt.Errorf("read backlog: %w", broken(err))
		}
		if !b.wire.more() {
			b.heard = time.Now()
		}
		f, ok, err := b.frame(kind, body)
		if ok || err != nil {
			return f, err
		}
	}
}

// frame reads one message of the protocol; ok is false when there is nothing
// in it for the caller.
func (b *backlog) frame(kind byte, body []byte) (f frame, ok bool, err error) {
	switch kind {
	case 'd':
		return b.row(body)
	case 'Z':
		b.running = false
		return frame{}, true, nil
	case 'E':
		return frame{}, false, explainStream(errorResponse(body))
	case 'N':
		return frame{}, false, notice(b.log, body)
	case 'H', 'c', 'C', 'S', 'A':
		return frame{}, false, nil
	}
	return frame{}, false, fmt.Errorf("read backlog: unexpected message %q", kind)
}

// copyHeader begins a COPY in binary form, followed by four bytes of flags and
// the length of an extension; see "Binary Format" of COPY in the manual.
const copyHeader = "PGCOPY\n\xff\r\n\x00"

// row reads one row of the COPY: two fields, position and message.
func (b *backlog) row(body []byte) (f frame, ok bool, err error) {
	row := body
	if !b.header {
		n := len(copyHeader) + 8
		if len(row) < n || !bytes.HasPrefix(row, []byte(copyHeader)) {
			return frame{}, false, undecodable("backlog header", b.position, body, errShort)
		}
		extension := binary.BigEndian.Uint32(row[n-4:])
		if uint64(extension) > uint64(len(row)-n) {
			return frame{}, false, undecodable("backlog header", b.position, body, errShort)
		}
		row, b.header = row[n+int(extension):], true
	}
	const fields, trailer = "\x00\x02\x00\x00\x00\x08", "\xff\xff"
	if len(row) == 0 || string(row) == trailer {
		return frame{}, false, nil
	}
	if len(row) < 18 || string(row[:6]) != fields || int64(binary.BigEndian.Uint32(row[14:])) != int64(len(row)-18) {
		return frame{}, false, undecodable("backlog row", b.position, body, errShort)
	}
	return frame{lsn: audit.LSN(binary.BigEndian.Uint64(row[6:])), message: row[18:], more: b.wire.more()}, true, nil
}

// begin is what happens where no window is under way: the caller learns how far
// the cursor has come, the lane ends, or the next window begins.
func (b *backlog) begin(ctx context.Context, deadline time.Time) (f frame, begun bool, err error) {
	slot, err := b.slot(ctx)
	if err != nil || ctx.Err() != nil {
		return frame{}, false, err
	}
	if slot.ConfirmedFlush > b.position {
		b.position = slot.ConfirmedFlush
		return frame{walEnd: b.position, wanted: true}, false, nil
	}
	switch left := between(b.position, slot.CurrentLSN); {
	case left < b.near:
		return frame{}, false, errFront
	case left == 0:
		pause(ctx, earlier(deadline, time.Now().Add(frontPause)))
		return frame{}, false, nil
	}
	upto := b.position + audit.LSN(b.window)
	b.running, b.header, b.heard = true, false, time.Now()
	err = b.query(b.statement(upto))
	return frame{}, err == nil, err
}

// statement fetches everything that was committed up to a position, and moves
// the cursor behind it.
func (b *backlog) statement(upto audit.LSN) string {
	arguments := literal(b.cursor) + ", " + literal(upto.String()) + ", NULL"
	for _, option := range b.options {
		arguments += ", " + literal(option[0]) + ", " + literal(option[1])
	}
	return "COPY (SELECT lsn, data FROM pg_catalog.pg_logical_slot_get_binary_changes(" + arguments + ")) TO STDOUT (FORMAT binary)"
}

// slot reads the state of the cursor.
func (b *backlog) slot(ctx context.Context) (s SlotState, err error) {
	err = b.line.do(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		s, err = readSlot(ctx, conn, b.cursor)
		return err
	})
	if ctx.Err() != nil {
		return s, nil
	}
	return s, err
}

// query sends a statement by the simple protocol.
func (b *backlog) query(sql string) error {
	m := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(sql)+5))
	return b.write(append(append(m, sql...), 0))
}

// stillThere looks whether the server works on a window of which it has not
// sent anything for long: it may have to read far back, or be gone.
func (b *backlog) stillThere(ctx context.Context) error {
	if ctx.Err() != nil || time.Since(b.heard) < b.silence {
		return nil
	}
	slot, err := b.slot(ctx)
	if err == nil && slot.ActivePID != int(b.hijacked.PID) {
		err = errSilence
	}
	if err != nil {
		return fmt.Errorf("read backlog: nothing for %s: %w", time.Since(b.heard).Round(time.Second), err)
	}
	b.heard = time.Now()
	return nil
}

// confirm implements lane. A window that our consumer does not take is given
// up, with everything else of this life: what was stored is not fetched again.
func (b *backlog) confirm(durable audit.LSN) error {
	if b.running && !b.given.IsZero() && b.heard.After(b.given) && time.Since(b.heard) > heldTooLong {
		return fmt.Errorf("read backlog: nobody has taken anything for %s, and the server must not wait that long", heldTooLong)
	}
	b.advancer.to(durable)
	return nil
}

// close implements lane.
func (b *backlog) close(ctx context.Context) error {
	b.release()
	if b.running {
		b.cancel()
	} else {
		_ = b.write([]byte{'X', 0, 0, 0, 4}) // the server would notice anyway
	}
	b.conn.Close()
	return errors.Join(b.line.close(ctx), b.advancer.close(ctx))
}

// cancel lets the server stop working on a window, which it would notice by
// itself only with the next row.
func (b *backlog) cancel() {
	ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
	defer stop()
	conn, err := pgconn.Construct(b.hijacked)
	if err == nil {
		err = conn.CancelRequest(ctx)
	}
	if err != nil {
		b.log.Debug().Err(err).Msg("window not cancelled")
	}
}

// pause waits until the deadline or the end of ctx.
func pause(ctx context.Context, deadline time.Time) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
