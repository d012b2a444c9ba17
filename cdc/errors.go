package cdc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// ErrSlotInUse is wrapped when another connection holds the slot: the reader of
// a second sidecar, or of our own past that the server has not missed yet. The
// caller waits and tries again; the slot is never dropped.
var ErrSlotInUse = errors.New("the replication slot is in use")

// ErrSlotLost is wrapped when the slot does not exist or was invalidated. The
// changes since its last position may be gone, so it needs a human.
var ErrSlotLost = fmt.Errorf("the replication slot is lost: %w", audit.ErrNeedsHuman)

// SQLSTATEs that we tell apart.
const (
	codeNotInPrerequisiteState = "55000"
	codeInUse                  = "55006"
	codeUndefinedObject        = "42704"
	codeInsufficientPrivilege  = "42501"
	codeInvalidAuthorization   = "28000"
	codeInvalidPassword        = "28P01"
	codeUnknownDatabase        = "3D000"
	codeTooManyConnections     = "53300"
	codeLimitExceeded          = "53400"
)

// dumped is how many bytes of a message that cannot be decoded are shown.
const dumped = 256

// DecodeError is a message that does not have the form that the protocol
// gives it. It wraps audit.ErrNeedsHuman: to go on behind it would be to skip a
// change.
type DecodeError struct {
	What    string    // "update on public.orders", "replication frame"
	LSN     audit.LSN // 0 when unknown
	Message []byte    // its first 256 bytes
	Size    int       // of the whole message
	Err     error
}

// Error shows the beginning of the message in hexadecimal: it is the only
// evidence there is.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("decode %s at %s: %v; first %d of %d bytes: %s",
		e.What, e.LSN, e.Err, len(e.Message), e.Size, hex.EncodeToString(e.Message))
}

// Unwrap returns the reason and audit.ErrNeedsHuman.
func (e *DecodeError) Unwrap() []error { return []error{e.Err, audit.ErrNeedsHuman} }

// Hint says what to do.
func (e *DecodeError) Hint() string {
	return "nothing was skipped and the slot keeps its place; report this message with the version of the server, then start again with a release that reads it"
}

func undecodable(what string, lsn audit.LSN, message []byte, err error) error {
	head := message[:min(len(message), dumped)]
	return &DecodeError{What: what, LSN: lsn, Message: append([]byte(nil), head...), Size: len(message), Err: err}
}

// explainConnect adds to an error of a new connection what can be done.
func explainConnect(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return audit.WithHint(err, "check host and port in the DSN, and that the server runs and can be reached from here")
	}
	switch e.Code {
	case codeInvalidPassword:
		return audit.WithHint(err, "check user and password in the DSN")
	case codeInvalidAuthorization:
		return audit.WithHint(err, "pg_hba.conf of the server must let this user connect to this database from here")
	case codeUnknownDatabase:
		return audit.WithHint(err, "check the database name in the DSN")
	case codeInsufficientPrivilege:
		return audit.WithHint(err, "give the role the right: ALTER ROLE <user> WITH REPLICATION, on RDS GRANT rds_replication TO <user>")
	case codeTooManyConnections:
		return audit.WithHint(err, "raise max_wal_senders or max_connections on the server, or stop another consumer")
	}
	return err
}

// explainStart adds to an error of START_REPLICATION what it means. It comes
// after the checks of the session, so that what is left is a slot that changed
// in between, or something that only the server knows.
func explainStart(slot string, err error) error {
	err = fmt.Errorf("start replication from slot %s: %w", slot, err)
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case codeInUse:
		return inUse(err)
	case codeNotInPrerequisiteState:
		return slotLost(err)
	case codeUndefinedObject:
		if ofPublication(e) {
			return publicationMissing(err)
		}
		return slotLost(err)
	}
	return explainConnect(err)
}

// errNoCursor is that the server has no room for a copy of the slot.
var errNoCursor = errors.New("there is no free replication slot for a while")

// explainCursor adds to an error of copying the slot what it means.
func explainCursor(slot string, err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == codeLimitExceeded {
		return audit.WithHint(fmt.Errorf("copy slot %s: %w: %w", slot, err, errNoCursor), "raise max_replication_slots and max_wal_senders by two for each stream")
	}
	return explainStart(slot, err)
}

// explainStream adds to an error that ended the stream what it means.
func explainStream(e *pgconn.PgError) error {
	err := fmt.Errorf("read replication stream: %w", e)
	switch {
	case e.Code == codeUndefinedObject && ofPublication(e):
		return publicationMissing(err)
	case e.Code == codeNotInPrerequisiteState:
		return slotLost(err)
	}
	return err
}

// explainSkipped turns the warning that the publication was not found at the
// point of the log that is being decoded into an error: everything from there
// on would be left out silently.
func explainSkipped(e *pgconn.PgError) error {
	return publicationMissing(fmt.Errorf("read replication stream: the server skips changes: %w", e))
}

// ofPublication reports whether the server complains of a publication. It goes
// by the name of the routine that complained, because messages are translated.
func ofPublication(e *pgconn.PgError) bool {
	return strings.Contains(strings.ToLower(e.Routine), "publication")
}

func inUse(err error) error {
	return audit.WithHint(fmt.Errorf("%w: %w", err, ErrSlotInUse),
		"another sidecar may run on this stream; who holds the slot: SELECT active_pid FROM pg_replication_slots")
}

func slotLost(err error) error {
	return audit.WithHint(fmt.Errorf("%w: %w", err, ErrSlotLost),
		"on a first start run: pgwitness setup. Otherwise the changes since the last stored entry may be gone: pgwitness resume says which, and records the gap")
}

func publicationMissing(err error) error {
	return audit.WithHint(fmt.Errorf("%w: %w", err, audit.ErrNeedsHuman),
		"a publication counts from the point in the log where it was created. On a first start run: pgwitness setup. Otherwise changes went unpublished: pgwitness resume records the gap; with --from-now, where the log can no longer be decoded")
}
