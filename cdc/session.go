package cdc

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// oldestServer is the first major version of PostgreSQL whose pgoutput sends
// logical messages.
const oldestServer = 14

//go:embed session.sql
var sessionSQL string

// pinned are the settings that values are rendered under, or that the reading
// relies on. They are part of the startup message, which outranks what the
// role, the database and the server say, and are looked at again afterwards,
// because something between us and the server may have dropped them.
func pinned() map[string]string {
	return map[string]string{
		"DateStyle":          "ISO, MDY",
		"IntervalStyle":      "postgres",
		"TimeZone":           "UTC",
		"extra_float_digits": "3",
		"bytea_output":       "hex",
		"client_encoding":    "UTF8",
		"lc_monetary":        "C",
		// Values that name an object (regclass and its like) carry its schema, and
		// quotes only where they must.
		"search_path":           "",
		"quote_all_identifiers": "off",
		// What we quote is read as we mean it, and warnings reach us.
		"standard_conforming_strings": "on",
		"client_min_messages":         "notice",
	}
}

// parseDSN is the configuration of a connection with the settings pinned.
// Errors do not repeat the DSN, because it holds a password.
func parseDSN(dsn string, replication bool) (*pgconn.Config, error) {
	if dsn == "" {
		return nil, audit.WithHint(errors.New("connect: no DSN is configured"), "set postgres.dsn of the stream")
	}
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, audit.WithHint(errors.New("connect: the DSN cannot be read"), "run: pgwitness config check")
	}
	settings := pinned()
	if replication {
		settings["replication"] = "database"
	}
	for name := range cfg.RuntimeParams {
		for pinned := range settings {
			if strings.EqualFold(name, pinned) {
				delete(cfg.RuntimeParams, name)
			}
		}
	}
	maps.Copy(cfg.RuntimeParams, settings)
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "pgwitness"
	}
	return cfg, nil
}

// session is what the inspection of a new replication connection found.
type session struct {
	slot          SlotState
	senderTimeout time.Duration // wal_sender_timeout; 0 for none
}

// inspect asks for everything that must hold before START_REPLICATION. It asks
// on the replication connection itself: another one may reach another server.
func inspect(ctx context.Context, conn *pgconn.PgConn, cfg Config) (session, error) {
	if err := checkVersion(conn.ParameterStatus("server_version")); err != nil {
		return session{}, err
	}
	if err := checkPinned(ctx, conn); err != nil {
		return session{}, err
	}
	r, err := askOne(ctx, conn, sessionSQL, cfg.Publication)
	if err != nil {
		return session{}, fmt.Errorf("inspect session: %w", err)
	}
	timeout := r.number("wal_sender_timeout", 0)
	if r.err != nil {
		return session{}, fmt.Errorf("inspect session: %w", r.err)
	}
	if level := r.text("wal_level"); level != "logical" {
		return session{}, audit.WithHint(fmt.Errorf("wal_level is %s, not logical: %w", level, audit.ErrNeedsHuman),
			"run: ALTER SYSTEM SET wal_level = logical; then restart the server")
	}
	if !r.flag("published") {
		return session{}, publicationMissing(fmt.Errorf("publication %q does not exist in database %q", cfg.Publication, r.text("database")))
	}
	slot, err := readSlot(ctx, conn, cfg.Slot)
	if err != nil {
		return session{}, err
	}
	if cfg.SystemID != "" && slot.SystemID != cfg.SystemID {
		return session{}, audit.WithHint(fmt.Errorf("the system identifier is %s, and the chain was begun on %s: %w", slot.SystemID, cfg.SystemID, audit.ErrNeedsHuman),
			"the DSN leads to another server than before; another server needs a stream of its own")
	}
	return session{slot, time.Duration(timeout) * time.Millisecond}, slot.usable()
}

// checkVersion refuses a server that is too old. The version has a form like
// "15.3 (Debian 15.3-0)" or "18beta1".
func checkVersion(version string) error {
	digits := strings.IndexFunc(version+" ", func(r rune) bool { return r < '0' || r > '9' })
	major, err := strconv.Atoi(version[:digits])
	if err != nil {
		return fmt.Errorf("read server version %q: %w", version, err)
	}
	if major < oldestServer {
		return audit.WithHint(fmt.Errorf("PostgreSQL %s is too old: %w", version, audit.ErrNeedsHuman),
			"use PostgreSQL 14 or later: earlier ones do not send logical messages")
	}
	return nil
}

// checkPinned refuses a session whose settings are not ours: its values would
// read differently, and hash differently.
func checkPinned(ctx context.Context, conn *pgconn.PgConn) error {
	want := pinned()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		r, err := askOne(ctx, conn, "SHOW "+name, "")
		if err != nil {
			return fmt.Errorf("inspect session: show %s: %w", name, err)
		}
		for _, got := range r.columns {
			if got != want[name] {
				return audit.WithHint(fmt.Errorf("the session has %s = %q although %q was asked for: %w", name, got, want[name], audit.ErrNeedsHuman),
					"connect to the server itself, not through a pooler or proxy, which drops what it does not know")
			}
		}
	}
	return nil
}
