// Package demo is an online shop under load: a schema, what lies in it, and
// the programs and people that work on it at once. pgwitness demo shows the
// trail of this shop, the integration tests run it as a workload, and its
// counters say how many changes a complete trail must hold.
//
// Five programs and one person share the database, and differ in what they
// tell about themselves:
//
//	storefront         SQL comments in the sqlcommenter convention   storefront.go
//	admin-panel        session variables, one set per transaction    admin.go
//	partner-api        one session variable that holds a JSON        partner.go
//	shopify-connector  nothing but its database role                 shopify.go
//	nightly-job        nothing but its database role; many rows      nightly.go
//	psql               dba_bob, by hand, without a reason            psql.go
//
// What one of them does at a time is a deed: mostly one transaction, sometimes
// one that is rolled back. An order wanders from deed to deed (placed, paid,
// approved, shipped, delivered, refunded), and one order, the Hero, meets all
// of them in a known sequence. Some of the deeds are suspicious on purpose:
// see suspicious.go.
//
// The package talks to PostgreSQL the way applications do and knows nothing of
// the sidecar: it never sees a slot, a publication or an entry, it never
// drops or empties anything that it did not make, and nothing in it may be run
// against a database that holds anything else.
package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// Shop is the shop in one database. Install makes it, Seed fills it, Run keeps
// it busy; each connects for itself and leaves no connection behind.
type Shop struct {
	cfg   Config
	log   zerolog.Logger
	tally ledger

	mu   sync.Mutex
	hero Hero
}

// New makes a Shop of cfg, which must be valid. It does not connect.
func New(cfg Config, log zerolog.Logger) *Shop {
	return &Shop{cfg: cfg, log: log.With().Str("component", "demo").Logger(), tally: newLedger()}
}

// Tables lists the tables of schema public that belong in the trail, the
// partitioned one by the name of its root. Only carts is missing: nobody
// audits a cart.
func Tables() []string {
	return []string{
		"api_keys", "customers", "import_staging", "inventory", "inventory_movements", "order_lines",
		"order_status_history", "orders", "orders_archive", "payments", "price_rules", "products",
		"refunds", "returns", "roles", "shipments", "user_roles", "users", "warehouses",
	}
}

// Tally returns what all calls of Seed and Run have done so far. It may be
// called at any time from any goroutine.
func (s *Shop) Tally() Tally { return s.tally.snapshot() }

// Hero returns the order whose story is known, as far as Run has told it.
func (s *Shop) Hero() Hero {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hero
}

// Run makes traffic until ctx is done or a bound of the configuration is
// reached, and returns nil then: deeds under way are finished first. It goes
// on through restarts of the server, for as long as Config.Patience; any other
// failure that a shop would not live with ends it. The shop must be seeded.
func (s *Shop) Run(ctx context.Context) error {
	t, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.recall(ctx); err != nil {
		return err
	}
	begun := time.Now()
	err = t.run(ctx)
	sum := s.Tally()
	s.log.Info().Dur("took", time.Since(begun)).Int64("committed", sum.Committed).
		Int64("rolled_back", sum.RolledBack).Int64("unknown", sum.Unknown).Msg("traffic ended")
	return err
}

// connect opens one connection as role.
func (s *Shop) connect(ctx context.Context, role, application string) (*pgx.Conn, error) {
	cfg, err := s.cfg.connConfig(role, application)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect as %s: %w", role, err)
	}
	return conn, nil
}
