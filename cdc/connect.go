package cdc

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
)

// connect opens a replication connection, inspects it and starts streaming
// from where the slot stands, or from acked when that is later. The session
// returned says so, with slot.ConfirmedFlush.
func connect(ctx context.Context, cfg Config, acked audit.LSN, log zerolog.Logger) (*stream, session, error) {
	starting, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	conn, wire, err := dial(starting, cfg.DSN)
	if err != nil {
		return nil, session{}, err
	}
	found, err := start(starting, conn, cfg, acked)
	if err != nil {
		conn.Close(starting)
		return nil, session{}, err
	}
	raw, err := conn.Hijack()
	if err != nil {
		conn.Close(starting)
		return nil, session{}, fmt.Errorf("start replication from slot %s: %w", cfg.Slot, err)
	}
	wire.src = raw.Conn
	s := &stream{conn: raw.Conn, wire: wire, silence: cfg.SilenceTimeout, log: log, durable: max(acked, found.slot.ConfirmedFlush)}
	s.watch(ctx)
	return s, found, nil
}

// dial opens a replication connection whose messages pgconn reads through a
// wire of ours.
func dial(ctx context.Context, dsn string) (*pgconn.PgConn, *wire, error) {
	cfg, err := parseDSN(dsn, true)
	if err != nil {
		return nil, nil, err
	}
	var w *wire
	cfg.BuildFrontend = func(r io.Reader, out io.Writer) *pgproto3.Frontend {
		w = newWire(r) // once for every address that is tried: the last one stays
		return pgproto3.NewFrontend(w, out)
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, nil, explainConnect(fmt.Errorf("connect for replication: %w", err))
	}
	return conn, w, nil
}

// start inspects the session, checks the three positions that must agree, and
// sends START_REPLICATION.
func start(ctx context.Context, conn *pgconn.PgConn, cfg Config, acked audit.LSN) (session, error) {
	found, err := inspect(ctx, conn, cfg)
	if err != nil {
		return found, err
	}
	slot := found.slot
	switch {
	case acked > slot.CurrentLSN:
		return found, audit.WithHint(fmt.Errorf("start replication from slot %s: the write-ahead log ends at %s, before %s, which is stored already: %w",
			cfg.Slot, slot.CurrentLSN, acked, audit.ErrNeedsHuman),
			"the server was restored from a backup, or a standby was promoted that had not received everything: its log tells another history")
	case acked != 0 && slot.ConfirmedFlush > acked:
		return found, audit.WithHint(fmt.Errorf("start replication from slot %s: it stands at %s, beyond %s, the last position that is stored: %w",
			cfg.Slot, slot.ConfirmedFlush, acked, ErrSlotLost),
			"somebody advanced the slot or made it anew, and the changes in between were not captured: pgwitness resume records the gap")
	}
	from := pglogrepl.LSN(max(acked, slot.ConfirmedFlush))
	options := pglogrepl.StartReplicationOptions{Mode: pglogrepl.LogicalReplication, PluginArgs: []string{
		"proto_version '1'",
		"publication_names " + literal(identifier(cfg.Publication)),
		"messages 'true'",
	}}
	if err := pglogrepl.StartReplication(ctx, conn, cfg.Slot, from, options); err != nil {
		return found, explainStart(cfg.Slot, err)
	}
	return found, nil
}

// statusInterval is how often the durable position is reported: often enough
// for wal_sender_timeout, twice over.
func statusInterval(cfg Config, senderTimeout time.Duration) time.Duration {
	if senderTimeout > 0 {
		return min(cfg.StatusInterval, senderTimeout/3)
	}
	return cfg.StatusInterval
}
