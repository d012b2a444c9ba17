package setup

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// Keys are the secrets of an audited database. They never leave memory.
type Keys struct {
	Stamp  [32]byte // HMAC-SHA256 key of the stamps
	Stream [32]byte // the salts of the entries are made of it
}

// row is a connection, pool or transaction.
type row interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Secrets reads the keys over a connection of the sidecar's role.
func Secrets(ctx context.Context, conn row) (Keys, error) {
	query, err := statements("check/keys.sql")
	if err != nil {
		return Keys{}, err
	}
	var stamp, stream []byte
	err = conn.QueryRow(ctx, query).Scan(&stamp, &stream)
	var said *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Keys{}, audit.WithHint(errors.New("read keys: pgwitness.secret has no row that this role may see"),
			"run: pgwitness setup, which makes the keys and grants the role of the sidecar to read them")
	case errors.As(err, &said) && (said.Code == "42P01" || said.Code == "3F000"):
		return Keys{}, audit.WithHint(fmt.Errorf("read keys: %w", err), "run: pgwitness setup")
	case errors.As(err, &said) && said.Code == "42501":
		return Keys{}, audit.WithHint(fmt.Errorf("read keys: %w", err),
			"run pgwitness setup with admin_dsn set: it grants the role of the sidecar to read the keys")
	case err != nil:
		return Keys{}, fmt.Errorf("read keys: %w", err)
	}
	var k Keys
	if len(stamp) != len(k.Stamp) || len(stream) != len(k.Stream) {
		return Keys{}, fmt.Errorf("read keys: %d and %d bytes instead of 32: %w", len(stamp), len(stream), audit.ErrNeedsHuman)
	}
	copy(k.Stamp[:], stamp)
	copy(k.Stream[:], stream)
	return k, nil
}
