package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// retryPause lies between two attempts to reach a server that is away.
const retryPause = 100 * time.Millisecond

// traffic is one Run: the programs with their connections, what they know, and
// how far it has come.
type traffic struct {
	shop *Shop
	cfg  Config
	team team
	book *book

	owner, storefront, panel, partner, shopify, nightly, psql *program

	deeds     []deed // of the programs that are always busy
	weights   int    // their sum
	night     deed
	byHand    []deed
	pace      pace
	handed    atomic.Int64  // deeds handed out
	answered  atomic.Int64  // unix nanoseconds of the server's last answer
	exhausted chan struct{} // closed when no worker is left
}

// deed is one thing that one program does at a time.
type deed struct {
	name   string // program/deed
	weight int    // how often, in relation to the others
	do     func(ctx context.Context, rng *rand.Rand) error
}

// open prepares the programs; they connect when they need to.
func (s *Shop) open(ctx context.Context) (*traffic, error) {
	t := &traffic{shop: s, cfg: s.cfg, team: staff(), book: newBook(), exhausted: make(chan struct{})}
	few := max(1, s.cfg.Workers/2)
	for _, p := range []struct {
		at               **program
		name, role, file string
		mode             pgx.QueryExecMode
		conns            int
	}{
		{&t.owner, "shop-migrate", "shop_owner", "seed", pgx.QueryExecModeCacheStatement, 1},
		// A framework that comments every statement has no use for prepared ones.
		{&t.storefront, "storefront", "storefront", "storefront", pgx.QueryExecModeExec, s.cfg.Workers},
		{&t.panel, "admin-panel", "admin_panel", "admin", pgx.QueryExecModeCacheStatement, s.cfg.Workers},
		{&t.partner, "partner-api", "admin_panel", "partner", pgx.QueryExecModeCacheStatement, few},
		{&t.shopify, "shopify-connector", "shopify", "shopify", pgx.QueryExecModeCacheStatement, few},
		{&t.nightly, "nightly-job", "nightly", "nightly", pgx.QueryExecModeCacheStatement, 1},
		{&t.psql, "psql", "dba_bob", "psql", pgx.QueryExecModeSimpleProtocol, 1},
	} {
		made, err := s.program(ctx, p.name, p.role, p.file, p.mode, p.conns)
		if err != nil {
			t.close()
			return nil, err
		}
		*p.at = made
	}
	t.plan()
	return t, nil
}

func (s *Shop) program(ctx context.Context, name, role, file string, mode pgx.QueryExecMode, conns int) (*program, error) {
	sql, err := loadStatements(file)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(s.cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("parse demo.dsn: %w", err)
	}
	s.cfg.become(cfg.ConnConfig, role, name)
	cfg.ConnConfig.DefaultQueryExecMode = mode
	cfg.MinConns, cfg.MaxConns = 0, int32(conns)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", name, err)
	}
	return &program{name: name, role: role, sql: sql, pool: pool, tally: s.tally, rng: rand.Uint64}, nil
}

func (t *traffic) close() {
	for _, p := range []*program{t.owner, t.storefront, t.panel, t.partner, t.shopify, t.nightly, t.psql} {
		if p != nil {
			p.pool.Close()
		}
	}
}

// plan lays down who does what, and how often. The shares are those of a shop
// that lives mostly from its web site.
func (t *traffic) plan() {
	for _, deeds := range [][]deed{
		t.storefrontDeeds(), t.panelDeeds(), t.suspiciousDeeds(), t.partnerDeeds(), t.shopifyDeeds(),
	} {
		for _, d := range deeds {
			d.weight = t.cfg.weight(d)
			t.weights += d.weight
			t.deeds = append(t.deeds, d)
		}
	}
	t.night = deed{"nightly-job/night", 0, t.workAtNight}
	t.byHand = t.psqlDeeds()
}

// weight is the configured weight of d: by its name, by its program, by "*",
// or else the built-in one.
func (c Config) weight(d deed) int {
	program, _, _ := strings.Cut(d.name, "/")
	for _, key := range []string{d.name, program + "/*", "*"} {
		if w, given := c.Weights[key]; given {
			return w
		}
	}
	return d.weight
}

// planned is what a Run would do of c.
func planned(c Config) *traffic {
	t := &traffic{cfg: c}
	t.plan()
	return t
}

// run is Run after the connections are prepared.
func (t *traffic) run(ctx context.Context) error {
	t.pace = newPace(t.cfg.Rate)
	t.answered.Store(time.Now().UnixNano())
	hero := &story{traffic: t}
	if t.cfg.HeroPause >= 0 {
		// The first step comes before all traffic: in a shop fresh from Seed the
		// hero's order has the number that follows the seeded ones.
		if err := hero.begin(ctx); err != nil {
			return err
		}
	}
	open, cancel := ctx, context.CancelFunc(func() {})
	if t.cfg.Duration > 0 {
		open, cancel = context.WithTimeout(ctx, t.cfg.Duration)
	}
	defer cancel()

	g, open := errgroup.WithContext(open)
	var busy sync.WaitGroup
	busy.Add(t.cfg.Workers)
	for id := range t.cfg.Workers {
		g.Go(func() error {
			defer busy.Done()
			return t.worker(open, id)
		})
	}
	g.Go(func() error {
		busy.Wait()
		close(t.exhausted)
		return nil
	})
	if t.cfg.HeroPause >= 0 {
		g.Go(func() error { return hero.rest(ctx) })
	}
	return g.Wait()
}

// worker does one deed after the other until there are no more, or open is
// done: nothing new is begun then.
func (t *traffic) worker(open context.Context, id int) error {
	// A later run on the same shop does not repeat the earlier one.
	rng := rand.New(rand.NewPCG(t.cfg.Seed, uint64(t.book.newest)<<16|uint64(id)))
	for {
		n := t.handed.Add(1)
		if t.cfg.Deeds > 0 && n > t.cfg.Deeds || !t.pace.wait(open, n) {
			return nil
		}
		if err := t.perform(open, t.choose(rng, n), rng); err != nil {
			return err
		}
	}
}

// choose picks the n-th deed: most by weight, the rare ones by their turn.
func (t *traffic) choose(rng *rand.Rand, n int64) deed {
	if every := t.cfg.NightEvery; every > 0 && n%every == every/4 {
		return t.night
	}
	if every := t.cfg.PsqlEvery; every > 0 && n%every == every/4 {
		return t.byHand[int(n/every)%len(t.byHand)]
	}
	at := rng.IntN(t.weights)
	for _, d := range t.deeds {
		if at -= d.weight; at < 0 {
			return d
		}
	}
	return t.deeds[0]
}

// perform does a deed to its end, even when open is done meanwhile, and tells
// what a shop lives with from what it does not.
func (t *traffic) perform(open context.Context, d deed, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(open), t.cfg.DeedTimeout)
	defer cancel()
	err := d.do(ctx, rng)
	switch {
	case errors.Is(err, errLost):
		return t.outlast(open, err)
	case err == nil, errors.Is(err, errDeclined):
		t.shop.tally.note(func(t *Tally) { t.Deeds[d.name]++ })
	case refused(err), conflict(err):
		t.shop.tally.note(func(t *Tally) { t.Refused++ })
	default:
		return fmt.Errorf("do %s: %w", d.name, err)
	}
	t.answered.Store(time.Now().UnixNano())
	return nil
}

// outlast waits a moment for a server that is away; it returns err when that
// has gone on for too long.
func (t *traffic) outlast(open context.Context, err error) error {
	if away := time.Since(time.Unix(0, t.answered.Load())); away > t.cfg.Patience {
		return fmt.Errorf("no answer from the server for %s: %w", away.Round(time.Second), err)
	}
	sleep(open, retryPause)
	return nil
}

// recall reads the shop into the book, however often the connection is lost.
func (t *traffic) recall(ctx context.Context) error {
	t.answered.Store(time.Now().UnixNano())
	for {
		err := t.book.recall(ctx, t.panel)
		if !errors.Is(err, errLost) {
			return err
		}
		if err := t.outlast(ctx, err); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// pace hands out moments at an even rate.
type pace struct {
	begun time.Time
	each  time.Duration // 0: no bound
}

func newPace(rate float64) pace {
	if rate <= 0 {
		return pace{}
	}
	return pace{time.Now(), time.Duration(float64(time.Second) / rate)}
}

// wait waits for the n-th moment and returns true, or false when ctx is done.
func (p pace) wait(ctx context.Context, n int64) bool {
	if p.each == 0 {
		return ctx.Err() == nil
	}
	return sleep(ctx, time.Until(p.begun.Add(time.Duration(n)*p.each)))
}

// sleep waits for d, or until ctx is done; it returns whether ctx is not.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
