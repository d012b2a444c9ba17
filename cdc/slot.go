package cdc

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

//go:embed slot.sql
var slotSQL string

// SlotState is what the server says about the slot and about itself at one
// moment: for the checks before a start, and for the metrics of lag.
type SlotState struct {
	SystemID      string // system identifier of the cluster
	Timeline      uint32
	Standby       bool
	ServerVersion int // server_version_num: 180001
	Database      string
	CurrentLSN    audit.LSN // end of the flushed (on a standby: replayed) write-ahead log

	Plugin         string
	SlotDatabase   string
	ConfirmedFlush audit.LSN // everything below was acknowledged
	Restart        audit.LSN // the log is kept from here on; 0 when it is not
	WALStatus      string    // reserved | extended | unreserved | lost
	Invalidation   string    // why the slot was invalidated; needs PostgreSQL 17, else ""
	Synced         bool      // on a standby: a copy of the slot of the primary
	SafeWALSize    int64     // bytes that may be written before the slot is in danger; -1 for no limit
	ActivePID      int       // of the walsender that holds the slot; 0 when none does
}

// Lag is the write-ahead log in bytes that is not acknowledged yet.
func (s SlotState) Lag() uint64 { return between(s.ConfirmedFlush, s.CurrentLSN) }

// Retained is the write-ahead log in bytes that the server keeps for the slot.
func (s SlotState) Retained() uint64 { return between(s.Restart, s.CurrentLSN) }

func between(from, to audit.LSN) uint64 {
	if from == 0 || to < from {
		return 0
	}
	return uint64(to - from)
}

// readSlot asks for the state of a slot. For a slot that does not exist the
// error is ErrSlotLost, and the state still describes the server.
func readSlot(ctx context.Context, conn *pgconn.PgConn, name string) (SlotState, error) {
	r, err := askOne(ctx, conn, slotSQL, name)
	if err != nil {
		return SlotState{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	s := SlotState{
		SystemID:      r.text("system_id"),
		Timeline:      uint32(r.number("timeline", 0)),
		Standby:       r.flag("standby"),
		ServerVersion: int(r.number("server_version", 0)),
		Database:      r.text("database"),
		CurrentLSN:    r.lsn("current_lsn"),

		Plugin:         r.text("plugin"),
		SlotDatabase:   r.text("slot_database"),
		ConfirmedFlush: r.lsn("confirmed_flush_lsn"),
		Restart:        r.lsn("restart_lsn"),
		WALStatus:      r.text("wal_status"),
		Invalidation:   r.text("invalidation_reason"),
		Synced:         r.flag("synced"),
		SafeWALSize:    r.number("safe_wal_size", -1),
		ActivePID:      int(r.number("active_pid", 0)),
	}
	if r.err != nil {
		return s, fmt.Errorf("read slot %s: %w", name, r.err)
	}
	if r.text("slot_name") == "" {
		return s, slotLost(fmt.Errorf("read slot %s: it does not exist", name))
	}
	return s, nil
}

// usable returns why the slot cannot be read from, or nil. A wal_status of
// lost is left to START_REPLICATION, because the server also says it of a slot
// that it is about to save.
func (s SlotState) usable() error {
	switch {
	case s.Synced && s.Standby:
		return audit.WithHint(errors.New("the slot is a copy that a standby keeps"),
			"let the DSN lead to the primary; the copy can be read once this server is promoted")
	case s.Plugin != "pgoutput":
		return audit.WithHint(fmt.Errorf("the slot was made for plugin %q, not for pgoutput: %w", s.Plugin, audit.ErrNeedsHuman),
			"choose another slot name and run: pgwitness setup")
	case s.SlotDatabase != s.Database:
		return audit.WithHint(fmt.Errorf("the slot belongs to database %q, not to %q: %w", s.SlotDatabase, s.Database, audit.ErrNeedsHuman),
			"give every audited database a slot of its own")
	case s.Invalidation != "":
		return slotLost(fmt.Errorf("the slot was invalidated: %s", s.Invalidation))
	}
	return nil
}
