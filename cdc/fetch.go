package cdc

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
)

//go:embed cursor.sql
var cursorSQL string

//go:embed backlog.sql
var backlogSQL string

//go:embed window.sql
var windowSQL string

// cancelTimeout is for the server to hear that a window is not wanted.
const cancelTimeout = 2 * time.Second

// fetcher is a session that fetches windows of a backlog, with a cursor of its
// own. Windows join without a gap and without a double whichever session fetches
// them: both ends of one are positions, and a transaction belongs to the window
// that its commit record begins in.
type fetcher struct {
	socket
	hijacked *pgconn.HijackedConn
	log      zerolog.Logger
	cursor   string      // name of the temporary slot
	options  [][2]string // of pgoutput

	from, upto audit.LSN // the window
	running    bool      // it is being fetched
	header     bool      // of its COPY, was read
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

// fetch asks for what was committed between two positions, the second of which
// is not beyond the end of the log. The cursor, which may still be behind the
// first, is moved there, and behind the window.
func (s *fetcher) fetch(from, upto audit.LSN) error {
	s.from, s.upto, s.running, s.header = from, upto, true, false
	arguments := literal(s.cursor) + ", " + literal(upto.String()) + ", NULL"
	for _, option := range s.options {
		arguments += ", " + literal(option[0]) + ", " + literal(option[1])
	}
	sql := strings.Replace(fillIn(windowSQL, s.cursor, from.String()), "$arguments", arguments, 1)
	m := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(sql)+5))
	return s.write(append(append(m, sql...), 0))
}

// frame reads one message of the protocol; ok is false when there is nothing
// in it for the caller.
func (s *fetcher) frame(kind byte, body []byte) (f frame, ok bool, err error) {
	switch kind {
	case 'd':
		return s.row(body)
	case 'Z':
		s.running = false
		return frame{}, true, nil
	case 'E':
		return frame{}, false, explainStream(errorResponse(body))
	case 'N':
		return frame{}, false, notice(s.log, body)
	case 'T', 'D', 'H', 'c', 'C', 'S', 'A':
		return frame{}, false, nil
	}
	return frame{}, false, fmt.Errorf("read backlog: unexpected message %q", kind)
}

// copyHeader begins a COPY in binary form, followed by four bytes of flags and
// the length of an extension; see "Binary Format" of COPY in the manual.
const copyHeader = "PGCOPY\n\xff\r\n\x00"

// row reads one row of the COPY: two fields, position and message.
func (s *fetcher) row(body []byte) (f frame, ok bool, err error) {
	row := body
	if !s.header {
		n := len(copyHeader) + 8
		if len(row) < n || !bytes.HasPrefix(row, []byte(copyHeader)) {
			return frame{}, false, undecodable("backlog header", s.from, body, errShort)
		}
		extension := binary.BigEndian.Uint32(row[n-4:])
		if uint64(extension) > uint64(len(row)-n) {
			return frame{}, false, undecodable("backlog header", s.from, body, errShort)
		}
		row, s.header = row[n+int(extension):], true
	}
	const fields, trailer = "\x00\x02\x00\x00\x00\x08", "\xff\xff"
	if len(row) == 0 || string(row) == trailer {
		return frame{}, false, nil
	}
	if len(row) < 18 || string(row[:6]) != fields || int64(binary.BigEndian.Uint32(row[14:])) != int64(len(row)-18) {
		return frame{}, false, undecodable("backlog row", s.from, body, errShort)
	}
	return frame{lsn: audit.LSN(binary.BigEndian.Uint64(row[6:])), message: row[18:], more: s.wire.more()}, true, nil
}

// hangUp ends the session, and with it the cursor.
func (s *fetcher) hangUp() {
	s.release()
	if s.running {
		s.cancel()
	} else {
		_ = s.write([]byte{'X', 0, 0, 0, 4}) // the server would notice anyway
	}
	s.conn.Close()
}

// cancel lets the server stop working on a window, which it would notice by
// itself only with the next row.
func (s *fetcher) cancel() {
	ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
	defer stop()
	conn, err := pgconn.Construct(s.hijacked)
	if err == nil {
		err = conn.CancelRequest(ctx)
	}
	if err != nil {
		s.log.Debug().Err(err).Msg("window not cancelled")
	}
}
