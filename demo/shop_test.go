package demo

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// openShop installs and seeds a shop; a census counts from before the seed.
func openShop(t *testing.T, pg *harness.PG, cfg Config) (*Shop, *Census) {
	t.Helper()
	ctx := t.Context()
	cfg.DSN = pg.DSN()
	cfg.Passwords = make(map[string]string)
	for _, role := range Roles() {
		cfg.Passwords[role] = "it's " + role
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	shop := New(cfg, zerolog.Nop())
	if err := shop.Install(ctx); err != nil {
		t.Fatalf("install: %v", err)
	}
	pg.Exec(publication(pg))
	census := NewCensus(pg.DSN(), "census_"+pg.Database, "census")
	if err := census.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := census.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := shop.Seed(ctx); err != nil {
		t.Fatal(err)
	}
	return shop, census
}

// publication is what an operator would create for the shop: PostgreSQL 18
// refuses updates of order_lines otherwise, which has a generated column.
func publication(pg *harness.PG) string {
	var sql strings.Builder
	for _, table := range Tables() {
		fmt.Fprintf(&sql, "ALTER TABLE %s REPLICA IDENTITY FULL;", table)
	}
	fmt.Fprintf(&sql, "CREATE PUBLICATION census FOR TABLE %s", strings.Join(Tables(), ", "))
	if pg.Value("SELECT current_setting('server_version_num')::int >= 180000") == "t" {
		sql.WriteString(" WITH (publish_generated_columns = stored)")
	}
	return sql.String()
}

func audited(c Counts) Counts {
	out := make(Counts)
	for _, table := range Tables() {
		out.add(table, c[table])
	}
	return out
}

func TestTrafficOnEveryVersion(t *testing.T) {
	for _, version := range harness.PostgresVersions(t) {
		t.Run(version.String(), func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Duration, cfg.HeroPause = 2*time.Second, 100*time.Millisecond
			cfg.NightEvery, cfg.PsqlEvery = 20, 10
			shop, census := openShop(t, harness.PostgresServer(t, version.Major, nil), cfg)
			before := goleak.IgnoreCurrent()
			if err := shop.Run(t.Context()); err != nil {
				t.Fatalf("run: %v", err)
			}
			goleak.VerifyNone(t, before)
			tally := shop.Tally()
			counted, err := census.Count(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(counted, audited(tally.Changes)); diff != "" {
				t.Errorf("the shop counted other changes than PostgreSQL (-postgres +shop):\n%s", diff)
			}
			if !shop.Hero().Complete {
				t.Errorf("the hero's story ended as %+v", shop.Hero())
			}
			for _, p := range []string{"storefront", "admin-panel", "partner-api", "shopify-connector", "nightly-job", "psql"} {
				if tally.Programs[p] == 0 {
					t.Errorf("%s committed nothing", p)
				}
			}
			t.Logf("%d committed, %d rolled back, %d tried again, %d changes", tally.Committed, tally.RolledBack, tally.Retried, tally.Changes.Total())
		})
	}
}
