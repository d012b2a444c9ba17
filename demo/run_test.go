package demo

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestBoundAndRate(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Deeds, cfg.Rate, cfg.HeroPause = 100, 400, -1
	shop, _ := openShop(t, harness.Postgres(t), cfg)
	begun := time.Now()
	if err := shop.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 240*time.Millisecond {
		t.Errorf("100 deeds at 400/s took %s", took)
	}
	tally := shop.Tally()
	done := tally.Refused
	for _, n := range tally.Deeds {
		done += n
	}
	if done != 100 {
		t.Errorf("%d deeds were done, want 100", done)
	}
	if shop.Hero().OrderID != 0 {
		t.Error("the hero's story was told although the configuration leaves it out")
	}
}

// Ending the context ends an unbounded run, without an error and without a
// transaction whose outcome is unknown.
func TestCancelFinishesWhatWasBegun(t *testing.T) {
	shop, census := openShop(t, harness.Postgres(t), DefaultConfig())
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- shop.Run(ctx) }()
	await(t, shop, 200)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
	tally := shop.Tally()
	if tally.Unknown != 0 {
		t.Errorf("the outcome of %d transactions is unknown", tally.Unknown)
	}
	compare(t, census, tally)

	// Another shop goes on where this one ended.
	cfg := shop.cfg
	cfg.Deeds, cfg.HeroPause = 50, 0
	next := New(cfg, zerolog.Nop())
	if err := next.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !next.Hero().Complete || next.Hero().OrderID == shop.Hero().OrderID || next.Hero().CustomerID != shop.Hero().CustomerID {
		t.Errorf("the second hero is %+v", next.Hero())
	}
}

// await waits until the shop has committed n more transactions.
func await(t *testing.T, shop *Shop, n int64) {
	t.Helper()
	want := shop.Tally().Committed + n
	deadline := time.Now().Add(time.Minute)
	for shop.Tally().Committed < want {
		if time.Now().After(deadline) {
			t.Fatalf("only %d transactions committed, want %d", shop.Tally().Committed, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func compare(t *testing.T, census *Census, tally Tally) {
	t.Helper()
	counted, err := census.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(counted, audited(tally.Changes)); diff != "" {
		t.Errorf("the shop counted other changes than PostgreSQL (-postgres +shop):\n%s", diff)
	}
}

// The traffic outlives a server that is killed. The census is exact; the
// shop's own count lacks at most what it knows that it does not know.
func TestServerIsKilled(t *testing.T) {
	pg := harness.PostgresServer(t, 0, nil)
	cfg := DefaultConfig()
	cfg.HeroPause = time.Second
	shop, census := openShop(t, pg, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- shop.Run(ctx) }()
	for range 3 {
		await(t, shop, 300)
		pg.Kill()
		pg.Start()
	}
	await(t, shop, 300)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	tally := shop.Tally()
	t.Logf("unknown: %d", tally.Unknown)
	counted, err := census.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	missing := counted.Total() - audited(tally.Changes).Total()
	if missing < 0 || missing > 0 && tally.Unknown == 0 {
		t.Errorf("PostgreSQL counted %d changes more than the shop, which knows of %d unknown outcomes", missing, tally.Unknown)
	}
	for table, n := range audited(tally.Changes) {
		if n.Total() > counted[table].Total() {
			t.Errorf("%s: the shop claims %d changes, PostgreSQL has %d", table, n.Total(), counted[table].Total())
		}
	}
}

func TestServerStaysAway(t *testing.T) {
	pg := harness.PostgresServer(t, 0, nil)
	cfg := DefaultConfig()
	cfg.Patience = 300 * time.Millisecond
	shop, _ := openShop(t, pg, cfg)
	done := make(chan error, 1)
	go func() { done <- shop.Run(t.Context()) }()
	await(t, shop, 20)
	pg.Kill()
	select {
	case err := <-done:
		if !errors.Is(err, errLost) || !strings.Contains(err.Error(), "no answer from the server for") {
			t.Errorf("run ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("run goes on without a server")
	}
	pg.Start()
}

// Weights make other traffic of the same shop.
func TestWeights(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Deeds, cfg.HeroPause, cfg.NightEvery, cfg.PsqlEvery = 60, -1, 0, 0
	cfg.Weights = map[string]int{"*": 0, "partner-api/*": 1, "partner-api/ship": 0, "shopify-connector/sync_tags": 2}
	shop, _ := openShop(t, harness.Postgres(t), cfg)
	if err := shop.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	deeds := shop.Tally().Deeds
	if len(deeds) != 4 || deeds["shopify-connector/sync_tags"] == 0 || deeds["partner-api/ship"] != 0 || deeds["partner-api/deliver"] == 0 {
		t.Errorf("done: %v", deeds)
	}
}

func TestInstallAndSeedTwice(t *testing.T) {
	pg := harness.Postgres(t)
	shop, census := openShop(t, pg, DefaultConfig())
	before := shop.Tally().Changes
	if err := shop.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := shop.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	tally := shop.Tally()
	if diff := cmp.Diff(before, tally.Changes); diff != "" {
		t.Errorf("the second time changed something:\n%s", diff)
	}
	compare(t, census, tally)
	if got := pg.Value("SELECT max(id) FROM orders"); got != "1233" {
		t.Errorf("the last seeded order is %s, want 1233", got)
	}
	if got := pg.Value("SELECT count(*) FROM orders WHERE total <> (SELECT sum(line_total) FROM order_lines WHERE order_id = id)"); got != "0" {
		t.Errorf("%s orders do not add up", got)
	}
	if got := pg.Value("SELECT count(*) > 50 FROM products WHERE pg_column_size(description) > 2000"); got != "t" {
		t.Error("no description is long enough for TOAST")
	}
}

func TestOutOfOrder(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DSN = harness.Postgres(t).DSN()
	openShop(t, harness.Postgres(t), DefaultConfig()) // the roles are there now, but not the schema
	cfg.Passwords = map[string]string{"shop_owner": "it's shop_owner", "admin_panel": "it's admin_panel"}
	shop := New(cfg, zerolog.Nop())
	if err := shop.Seed(t.Context()); err == nil || audit.Hint(err) == "" {
		t.Errorf("seed without a schema: %v, hint %q", err, audit.Hint(err))
	}
	if err := shop.Run(t.Context()); err == nil {
		t.Error("run without a schema ended well")
	}
	cfg.Passwords["shop_owner"] = "wrong"
	if err := New(cfg, zerolog.Nop()).Seed(t.Context()); sqlState(err) != "28P01" || errors.Is(err, errLost) {
		t.Errorf("seed with a wrong password: %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := DefaultConfig()
	good.DSN = "postgres://localhost/shop"
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for key, spoil := range map[string]func(*Config){
		"demo.dsn":          func(c *Config) { c.DSN = "postgres://u:secret@host:port/x" },
		"demo.passwords":    func(c *Config) { c.Passwords = map[string]string{"root": "x"} },
		"demo.products":     func(c *Config) { c.Products = 5 },
		"demo.customers":    func(c *Config) { c.Customers = 0 },
		"demo.orders":       func(c *Config) { c.Orders = 0 },
		"demo.workers":      func(c *Config) { c.Workers = 0 },
		"demo.rate":         func(c *Config) { c.Rate = -1 },
		"demo.deeds":        func(c *Config) { c.Deeds = -1 },
		"demo.duration":     func(c *Config) { c.Duration = -1 },
		"demo.night_every":  func(c *Config) { c.NightEvery = -1 },
		"demo.psql_every":   func(c *Config) { c.PsqlEvery = -1 },
		"demo.deed_timeout": func(c *Config) { c.DeedTimeout = 0 },
		"demo.weights":      func(c *Config) { c.Weights = map[string]int{"storefront/fly": 1} },
		"demo.weights:":     func(c *Config) { c.Weights = map[string]int{"*": 0} },
		"demo.patience":     func(c *Config) { c.Patience = -1 },
	} {
		bad := good
		spoil(&bad)
		err := bad.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), strings.TrimSuffix(key, ":")+":") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", key, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", key, err)
		}
	}
}
