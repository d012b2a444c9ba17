package cdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
)

const (
	xlogHeader     = 25                  // type, start, end, time
	keepalive      = 18                  // type, end, time, reply requested
	statusMessage  = 39                  // CopyData header and a standby status update
	writeTimeout   = 20 * time.Second    // for one status message
	closeTimeout   = 20 * time.Second    // for the server to take note of the last status, whatever ctx allows; silence ends it earlier
	releaseTimeout = time.Second         // for the server to free the slot at the end
	pgEpoch        = 946_684_800_000_000 // 2000-01-01 in microseconds since 1970
)

// errSilence ends a connection on which nothing was heard for too long.
var errSilence = errors.New("the server said nothing, although it was asked: the connection is dead")

// stream is the lane that the walsender feeds: the live one. It owns the
// connection from START_REPLICATION on.
type stream struct {
	socket
	linger  lingerer
	silence time.Duration
	log     zerolog.Logger

	durable audit.LSN     // last confirmed; a question repeats it
	quiet   time.Duration // waited since bytes last arrived; time in which nobody read does not count
	asked   bool          // the server was asked for a sign of life since then
}

// next implements lane. A keep-alive is a frame without message.
func (s *stream) next(ctx context.Context, deadline time.Time) (frame, error) {
	for {
		begun, more := time.Time{}, s.wire.more()
		if !more {
			s.linger.linger(s.wire.take())
			begun = time.Now()
			if err := s.await(ctx, begun, deadline); err != nil {
				return frame{}, err
			}
		}
		kind, body, err := s.wire.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.quiet += time.Since(begun)
			return frame{}, s.timedOut(ctx)
		}
		if err != nil {
			return frame{}, fmt.Errorf("read replication stream: %w", broken(err))
		}
		s.quiet, s.asked = 0, false
		f, ok, err := s.frame(kind, body)
		if ok || err != nil {
			f.more = s.wire.more()
			return f, err
		}
	}
}

// await prepares conn for a read that ends at the deadline, or when it is time
// to ask a silent server for a sign of life.
func (s *stream) await(ctx context.Context, now, deadline time.Time) error {
	patience := s.silence
	if !s.asked {
		patience /= 2
	}
	return s.arm(ctx, earlier(deadline, now.Add(patience-s.quiet)))
}

// timedOut decides what the end of a wait means: the caller's deadline, or a
// server that has to be asked, or one that did not answer.
func (s *stream) timedOut(ctx context.Context) error {
	switch {
	case ctx.Err() != nil || s.quiet < s.silence/2:
		return nil
	case !s.asked:
		s.asked = true
		return s.send(s.durable, true)
	case s.quiet < s.silence:
		return nil
	}
	return fmt.Errorf("read replication stream: nothing for %s: %w", s.quiet.Round(time.Millisecond), errSilence)
}

// frame reads one message of the protocol; ok is false when there is nothing
// in it for the caller.
func (s *stream) frame(kind byte, body []byte) (f frame, ok bool, err error) {
	switch kind {
	case 'd':
		f, err = copyData(body)
		return f, err == nil, err
	case 'E':
		return frame{}, false, explainStream(errorResponse(body))
	case 'N':
		return frame{}, false, notice(s.log, body)
	case 'S', 'A':
		return frame{}, false, nil
	case 'c', 'C', 'Z':
		return frame{}, false, errors.New("read replication stream: the server ended it, probably to shut down")
	}
	return frame{}, false, fmt.Errorf("read replication stream: unexpected message %q", kind)
}

// copyData reads what the walsender wraps into CopyData.
func copyData(body []byte) (frame, error) {
	switch {
	case len(body) > xlogHeader && body[0] == pglogrepl.XLogDataByteID:
		lsn := audit.LSN(binary.BigEndian.Uint64(body[1:]))
		return frame{lsn: lsn, message: body[xlogHeader:]}, nil
	case len(body) == keepalive && body[0] == pglogrepl.PrimaryKeepaliveMessageByteID:
		end := audit.LSN(binary.BigEndian.Uint64(body[1:]))
		return frame{walEnd: end, wanted: body[17] != 0}, nil
	}
	return frame{}, undecodable("replication frame", 0, body, errors.New("neither write-ahead log data nor a keep-alive"))
}

// notice reads a notice. A warning that something was skipped is the end:
// PostgreSQL 18 goes on without a publication that does not exist.
func notice(log zerolog.Logger, body []byte) error {
	e := errorResponse(body)
	if e.Code == codeNotInPrerequisiteState {
		return explainSkipped(e)
	}
	log.Debug().Str("code", e.Code).Str("routine", e.Routine).Msg("notice from the server")
	return nil
}

// confirm implements lane.
func (s *stream) confirm(durable audit.LSN) error {
	s.durable = durable
	return s.send(durable, false)
}

// send writes a standby status update with write = flush = apply = durable. A
// flush position of zero would be taken by some servers for "no flush, but
// written so far", and acknowledge what nobody stored; durable is never zero.
func (s *stream) send(durable audit.LSN, ask bool) error {
	var b [statusMessage]byte
	b[0] = 'd'
	binary.BigEndian.PutUint32(b[1:], statusMessage-1)
	b[5] = pglogrepl.StandbyStatusUpdateByteID
	for _, at := range []int{6, 14, 22} {
		binary.BigEndian.PutUint64(b[at:], uint64(durable))
	}
	binary.BigEndian.PutUint64(b[30:], uint64(time.Now().UnixMicro()-pgEpoch))
	if ask {
		b[38] = 1
	}
	return s.write(b[:])
}

// close implements lane: CopyDone, then whatever is still under way is thrown
// away until the server answers it, which it does after the status messages
// before it; then Terminate. What was thrown away is sent again next time.
func (s *stream) close(ctx context.Context) error {
	defer s.conn.Close()
	s.release()
	if err := s.conn.SetReadDeadline(time.Now().Add(min(closeTimeout, s.silence))); err != nil {
		return fmt.Errorf("close replication stream: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { s.conn.SetDeadline(longAgo()) })
	defer stop()
	if err := s.write([]byte{'c', 0, 0, 0, 4}); err != nil {
		return err
	}
	if err := s.discard(ctx, "cC"); err != nil {
		return fmt.Errorf("close replication stream: %w", err)
	}
	// The position is reported. That the slot is free as well when we return is
	// a courtesy to whoever reads it next, not worth the rest of a long
	// transaction.
	if err := s.conn.SetReadDeadline(time.Now().Add(releaseTimeout)); err == nil {
		_ = s.discard(ctx, "C")
	}
	return s.write([]byte{'X', 0, 0, 0, 4})
}

// discard reads until a message of one of the kinds, or an error, comes.
func (s *stream) discard(ctx context.Context, kinds string) error {
	for ctx.Err() == nil {
		kind, body, err := s.wire.next()
		switch {
		case err != nil:
			return broken(err)
		case kind == 'E':
			return errorResponse(body)
		case strings.IndexByte(kinds, kind) >= 0:
			return nil
		}
	}
	return ctx.Err()
}

// errorResponse reads the fields of an error or a notice.
func errorResponse(body []byte) *pgconn.PgError {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return &pgconn.PgError{Severity: "ERROR", Message: "an error that cannot be read: " + err.Error()}
	}
	return pgconn.ErrorResponseToPgError(&m)
}

// broken gives an end of file in the middle of the protocol its name.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}
