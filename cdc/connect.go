package cdc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgwitness/pgwitness/audit"
)

// connect opens a replication connection, inspects it and takes the lane that
// suits the distance: from where the slot stands, or from acked or from what was
// delivered when those are later. The session returned says where the slot
// stands.
func (r *Reader) connect(ctx context.Context, delivered audit.LSN) (lane, session, error) {
	starting, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
	defer cancel()
	conn, wire, err := dial(starting, r.cfg.DSN)
	if err != nil {
		return nil, session{}, err
	}
	acked := audit.LSN(r.acked.Load())
	found, err := inspect(starting, conn, r.cfg)
	if err == nil {
		err = agree(r.cfg.Slot, found.slot, acked)
	}
	if err != nil {
		conn.Close(starting)
		return nil, found, err
	}
	durable := max(acked, found.slot.ConfirmedFlush)
	from := max(durable, delivered)
	cursor, err := r.begin(starting, conn, found.slot, from)
	if err != nil {
		conn.Close(starting)
		return nil, found, err
	}
	raw, err := takeOver(starting, conn, wire)
	if err != nil {
		return nil, found, fmt.Errorf("start replication from slot %s: %w", r.cfg.Slot, err)
	}
	if cursor == "" {
		l := &stream{socket: socket{conn: raw.Conn, wire: wire}, linger: newLingerer(raw.Conn), silence: r.cfg.SilenceTimeout, log: r.log, durable: durable}
		l.watch(ctx)
		return l, found, nil
	}
	return r.backlog(ctx, r.fetcher(ctx, raw, wire, cursor), found.slot, from), found, nil
}

// takeOver takes the socket of a connection from pgconn; wire reads from it then.
func takeOver(ctx context.Context, conn *pgconn.PgConn, wire *wire) (*pgconn.HijackedConn, error) {
	raw, err := conn.Hijack()
	if err != nil {
		conn.Close(ctx)
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	wire.src = raw.Conn
	return raw, nil
}

// fetcher makes the session that has a cursor one that ends when ctx does.
func (r *Reader) fetcher(ctx context.Context, raw *pgconn.HijackedConn, wire *wire, cursor string) *fetcher {
	f := &fetcher{
		socket: socket{conn: raw.Conn, wire: wire}, hijacked: raw, log: r.log,
		cursor: cursor, options: pgoutputOptions(r.cfg.Publication),
	}
	f.watch(ctx)
	return f
}

// backlog makes the lane of that name. Where there is more than one window to
// fetch it gets a second session; whatever keeps that from beginning is no reason
// not to begin.
func (r *Reader) backlog(ctx context.Context, first *fetcher, slot SlotState, from audit.LSN) *backlog {
	b := &backlog{
		reading: first, log: r.log,
		line:     &sideline{dsn: r.cfg.DSN, timeout: r.cfg.CatalogTimeout},
		advancer: &advancer{line: &sideline{dsn: r.cfg.DSN, timeout: r.cfg.SilenceTimeout}, slot: r.cfg.Slot, done: slot.ConfirmedFlush},
		window:   uint64(r.cfg.BacklogWindow), near: uint64(r.cfg.Backlog / 4), silence: r.cfg.SilenceTimeout, position: from,
	}
	if between(from, slot.CurrentLSN) <= min(b.window, leastWindow) {
		return b
	}
	second, err := r.second(ctx, slot, from)
	if err != nil {
		r.log.Info().Err(err).Str("hint", audit.Hint(err)).Msg("the backlog is fetched by one session, which takes longer than two")
		return b
	}
	b.ahead = second
	return b
}

// second opens another session beside that which found slot, on the same server.
func (r *Reader) second(ctx context.Context, slot SlotState, from audit.LSN) (*fetcher, error) {
	starting, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
	defer cancel()
	conn, wire, err := dial(starting, r.cfg.DSN)
	if err != nil {
		return nil, err
	}
	found, err := inspect(starting, conn, r.cfg)
	if err == nil && (found.slot.SystemID != slot.SystemID || found.slot.Timeline != slot.Timeline || found.slot.Standby) {
		err = errors.New("another server answers")
	}
	var cursor string
	if err == nil {
		cursor, err = openCursor(starting, conn, r.cfg, from)
	}
	if err != nil {
		conn.Close(starting)
		return nil, err
	}
	raw, err := takeOver(starting, conn, wire)
	if err != nil {
		return nil, err
	}
	return r.fetcher(ctx, raw, wire, cursor), nil
}

// begin starts the stream, or makes the cursor of a backlog and returns its
// name.
func (r *Reader) begin(ctx context.Context, conn *pgconn.PgConn, slot SlotState, from audit.LSN) (cursor string, err error) {
	if r.far(slot, from) {
		cursor, err = openCursor(ctx, conn, r.cfg, from)
		if err == nil || !errors.Is(err, errNoCursor) {
			return cursor, err
		}
		r.noCursor = true
		r.log.Warn().Err(err).Str("hint", audit.Hint(err)).Msg("the backlog is streamed, which takes longer")
	}
	return "", start(ctx, conn, r.cfg, from)
}

// far reports whether the backlog is the better lane.
func (r *Reader) far(slot SlotState, from audit.LSN) bool {
	return r.cfg.Backlog > 0 && !r.noCursor && !slot.Standby && between(from, slot.CurrentLSN) >= uint64(r.cfg.Backlog)
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

// agree checks the three positions that must agree: the end of the log, where
// the slot stands, and what is stored.
func agree(name string, slot SlotState, acked audit.LSN) error {
	switch {
	case acked > slot.CurrentLSN:
		return audit.WithHint(fmt.Errorf("start replication from slot %s: the write-ahead log ends at %s, before %s, which is stored already: %w",
			name, slot.CurrentLSN, acked, audit.ErrNeedsHuman),
			"the server was restored from a backup, or a standby was promoted that had not received everything: its log tells another history")
	case acked != 0 && slot.ConfirmedFlush > acked:
		return audit.WithHint(fmt.Errorf("start replication from slot %s: it stands at %s, beyond %s, the last position that is stored: %w",
			name, slot.ConfirmedFlush, acked, ErrSlotLost),
			"somebody advanced the slot or made it anew, and the changes in between were not captured: pgwitness resume records the gap")
	}
	return nil
}

// pgoutputOptions are the names and values of the options of pgoutput.
func pgoutputOptions(publication string) [][2]string {
	return [][2]string{
		{"proto_version", "1"},
		{"publication_names", identifier(publication)},
		{"messages", "true"},
	}
}

// start sends START_REPLICATION. The server keeps the log from where the slot
// stands all the same, whatever lies between that and from.
func start(ctx context.Context, conn *pgconn.PgConn, cfg Config, from audit.LSN) error {
	options := pglogrepl.StartReplicationOptions{Mode: pglogrepl.LogicalReplication}
	for _, option := range pgoutputOptions(cfg.Publication) {
		options.PluginArgs = append(options.PluginArgs, option[0]+" "+literal(option[1]))
	}
	if err := pglogrepl.StartReplication(ctx, conn, cfg.Slot, pglogrepl.LSN(from), options); err != nil {
		return explainStart(cfg.Slot, err)
	}
	return nil
}

// statusInterval is how often the durable position is reported: often enough
// for wal_sender_timeout, twice over.
func statusInterval(cfg Config, senderTimeout time.Duration) time.Duration {
	if senderTimeout > 0 {
		return min(cfg.StatusInterval, senderTimeout/3)
	}
	return cfg.StatusInterval
}
