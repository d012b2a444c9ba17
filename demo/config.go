package demo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Config says where the shop is and how busy. Start from DefaultConfig.
type Config struct {
	// DSN of the shop's database, as a role that may create roles. The programs
	// of the shop use it with their own role and password in place of its.
	DSN string `yaml:"dsn"`
	// Passwords by role, for Roles; a role that is not in here gets none, which
	// does where the server trusts its clients.
	Passwords map[string]string `yaml:"passwords"`

	// Products, Customers and Orders are the numbers of rows that Seed makes.
	// Defaults 1200, 400 and 1233: the nightly job then changes more than a
	// thousand rows at once, and the first order of a fresh shop is number 1234.
	Products  int `yaml:"products"`
	Customers int `yaml:"customers"`
	Orders    int `yaml:"orders"`

	// Seed of the random numbers. Default 1. The same seed makes the same deeds in
	// the same shop; how they interleave is the scheduler's business.
	Seed uint64 `yaml:"seed"`
	// Workers is the number of deeds at a time. Default 8.
	Workers int `yaml:"workers"`
	// Rate bounds the deeds per second, 0: as fast as the server goes. Default 0.
	Rate float64 `yaml:"rate"`
	// Deeds and Duration end Run, whichever comes first; 0: no bound. Default 0.
	Deeds    int64         `yaml:"deeds"`
	Duration time.Duration `yaml:"duration"`
	// Weights replace how often deeds are done in relation to each other, by name
	// ("storefront/place_order"), by program ("storefront/*") or for all ("*").
	// {"*": 0, "shopify-connector/sync_tags": 1} makes many small transactions.
	// Default: those of a shop that lives from its web site.
	Weights map[string]int `yaml:"weights"`
	// NightEvery and PsqlEvery are how many deeds lie between two nights (in
	// which the nightly job runs) and between two fixes by hand; 0: never.
	// Defaults 2500 and 400. The first comes after a quarter of that.
	NightEvery int64 `yaml:"night_every"`
	PsqlEvery  int64 `yaml:"psql_every"`

	// HeroPause is the time between two steps of the hero's story, while other
	// traffic goes on. Default 250ms. A negative one leaves the story out.
	HeroPause time.Duration `yaml:"hero_pause"`
	// DeedTimeout is how long one deed may take. Default 30s.
	DeedTimeout time.Duration `yaml:"deed_timeout"`
	// Patience is how long the shop goes on without an answer of the server.
	// Default 30s.
	Patience time.Duration `yaml:"patience"`
}

// DefaultConfig returns a configuration that lacks nothing but the DSN.
func DefaultConfig() Config {
	return Config{
		Products: 1200, Customers: 400, Orders: 1233,
		Seed: 1, Workers: 8, NightEvery: 2500, PsqlEvery: 400,
		HeroPause: 250 * time.Millisecond, DeedTimeout: 30 * time.Second, Patience: 30 * time.Second,
	}
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate() error {
	var problems []error
	atLeast := func(key string, have, want int64) {
		if have < want {
			problems = append(problems, fmt.Errorf("demo.%s: must be at least %d, is %d", key, want, have))
		}
	}
	if _, err := pgx.ParseConfig(c.DSN); err != nil || c.DSN == "" {
		// The parser's own words may quote the DSN, and with it a password.
		problems = append(problems, errors.New("demo.dsn: not a PostgreSQL connection string"))
	}
	for role := range c.Passwords {
		if !slices.Contains(Roles(), role) {
			problems = append(problems, fmt.Errorf("demo.passwords: the shop has no role %q", role))
		}
	}
	atLeast("products", int64(c.Products), 100)
	atLeast("customers", int64(c.Customers), 10)
	atLeast("orders", int64(c.Orders), 10)
	atLeast("workers", int64(c.Workers), 1)
	atLeast("deeds", c.Deeds, 0)
	atLeast("duration", int64(c.Duration), 0)
	atLeast("night_every", c.NightEvery, 0)
	atLeast("psql_every", c.PsqlEvery, 0)
	atLeast("deed_timeout", int64(c.DeedTimeout), 1)
	atLeast("patience", int64(c.Patience), 0)
	problems = append(problems, c.validateWeights()...)
	if !(c.Rate >= 0) {
		problems = append(problems, fmt.Errorf("demo.rate: must not be negative, is %v", c.Rate))
	}
	return errors.Join(problems...)
}

func (c Config) validateWeights() (problems []error) {
	known := map[string]bool{"*": true}
	plan := planned(Config{})
	for _, d := range plan.deeds {
		program, _, _ := strings.Cut(d.name, "/")
		known[d.name], known[program+"/*"] = true, true
	}
	for name, weight := range c.Weights {
		if !known[name] {
			problems = append(problems, fmt.Errorf("demo.weights: nobody does %q", name))
		} else if weight < 0 {
			problems = append(problems, fmt.Errorf("demo.weights: %q must not be negative", name))
		}
	}
	if len(problems) == 0 && planned(c).weights == 0 {
		problems = append(problems, errors.New("demo.weights: leave nothing to do"))
	}
	return problems
}

// Roles lists the database roles of the shop: all log in, and all get the
// password that Config.Passwords has for them.
func Roles() []string {
	return []string{"shop_owner", "storefront", "admin_panel", "shopify", "nightly", "dba_bob"}
}

// connConfig is the DSN with another role in it; role "" leaves it as it is.
func (c Config) connConfig(role, application string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("parse demo.dsn: %w", err)
	}
	c.become(cfg, role, application)
	return cfg, nil
}

func (c Config) become(cfg *pgx.ConnConfig, role, application string) {
	if role != "" {
		cfg.User, cfg.Password = role, c.Passwords[role]
	}
	cfg.RuntimeParams["application_name"] = application
}
