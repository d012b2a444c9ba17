package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Hero is an order whose whole story is known in advance, step by step, while
// all other traffic goes on around it and leaves it alone. A storefront
// visitor places and pays it, an operations manager approves it, the Shopify
// connector tags it, the logistics partner ships it, dba_bob takes 50.00 off
// by hand, and a finance clerk pays the rest back, with a reason and a note.
type Hero struct {
	OrderID    int64 // orders.id; 0 before the story begins
	CustomerID int64
	RefundID   int64  // refunds.id; 0 before the last step
	Trace      string // trace id in the SQL comments of the storefront
	Steps      []Step // told so far
	Complete   bool
}

// Step is one step of the hero's story: one transaction.
type Step struct {
	Program string // application_name
	Actor   string // as the program names its user, or else the database role; "" for a visitor
	What    string // in words
	Reason  string // reason code given
	At      time.Time
}

// The clerks of the hero's story.
const (
	heroManager = "tomas.berg@shop.example"
	heroClerk   = "samuel.okafor@shop.example"
)

// story tells the hero's story once.
type story struct {
	traffic *traffic
	sql     statements
	rng     *rand.Rand
	hero    Hero
}

// begin is the first step: the visitor registers and places the order.
func (st *story) begin(ctx context.Context) error {
	sql, err := loadStatements("hero")
	if err != nil {
		return err
	}
	st.sql, st.rng = sql, rand.New(rand.NewPCG(st.traffic.cfg.Seed, 0xbeef))
	c := request(st.rng, "checkout", "place_order", "/checkout")
	st.hero.Trace = c.trace
	err = st.tell(ctx, st.traffic.storefront, Step{What: "registers"}, c, func(ctx context.Context, w *work) error {
		if err := w.row(ctx, "find", nil, &st.hero.CustomerID); !errors.Is(err, errDeclined) {
			return err
		}
		return w.row(ctx, "register", nil, &st.hero.CustomerID)
	})
	if err != nil {
		return err
	}
	return st.tell(ctx, st.traffic.storefront, Step{What: "places the order, 249.90"}, c, func(ctx context.Context, w *work) error {
		if err := w.row(ctx, "place_order", []any{st.hero.CustomerID}, &st.hero.OrderID); err != nil {
			return err
		}
		return w.must(ctx, "add_lines", st.hero.OrderID)
	})
}

// rest is all the other steps, with a pause before each as long as there is
// other traffic. When ctx is done it stops after the step under way.
func (st *story) rest(ctx context.Context) error {
	for _, step := range []func(context.Context) error{st.pay, st.approve, st.sync, st.ship, st.fix, st.refund} {
		st.pause(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	st.hero.Complete = true
	st.publish()
	return nil
}

func (st *story) pause(ctx context.Context) {
	timer := time.NewTimer(st.traffic.cfg.HeroPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-st.traffic.exhausted:
	case <-ctx.Done():
	}
}

// tell does one step. A step whose connection was lost is told again; its
// statements look at the status of the order first, so that a step that had
// been committed is not done twice (only the order itself may then be placed
// twice, and the later one is the hero).
func (st *story) tell(ctx context.Context, p *program, step Step, c comment, fn func(context.Context, *work) error) error {
	as := *p
	as.sql = st.sql
	for {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), st.traffic.cfg.DeedTimeout)
		err := as.transact(one, c, func(w *work) error { return fn(one, w) })
		cancel()
		switch {
		case err == nil, errors.Is(err, errDeclined):
			step.Program, step.At = p.name, time.Now()
			if step.Actor == "" && p != st.traffic.storefront {
				step.Actor = p.role
			}
			st.hero.Steps = append(st.hero.Steps, step)
			st.publish()
			return nil
		case !errors.Is(err, errLost):
			return fmt.Errorf("tell the hero's story, %s: %w", step.What, err)
		}
		if err := st.traffic.outlast(ctx, err); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// publish makes the story so far visible to Shop.Hero.
func (st *story) publish() {
	shop := st.traffic.shop
	shop.mu.Lock()
	defer shop.mu.Unlock()
	shop.hero = st.hero
	shop.hero.Steps = append([]Step(nil), st.hero.Steps...)
}

func (st *story) pay(ctx context.Context) error {
	c := request(st.rng, "payments", "capture", "/checkout/pay")
	c.trace = st.hero.Trace
	return st.tell(ctx, st.traffic.storefront, Step{What: "pays by card"}, c, func(ctx context.Context, w *work) error {
		if err := w.must(ctx, "capture_payment", st.hero.OrderID); err != nil {
			return err
		}
		return w.must(ctx, "mark_paid", st.hero.OrderID)
	})
}

func (st *story) approve(ctx context.Context) error {
	m := st.traffic.team.named(heroManager)
	return st.inPanel(ctx, Step{Actor: m.email, What: "approves"}, m, reason{}, func(ctx context.Context, w *work) error {
		return w.must(ctx, "approve", st.hero.OrderID, m.id, m.email)
	})
}

func (st *story) sync(ctx context.Context) error {
	return st.tell(ctx, st.traffic.shopify, Step{What: "tags and annotates"}, comment{}, func(ctx context.Context, w *work) error {
		return w.must(ctx, "sync", st.hero.OrderID)
	})
}

func (st *story) ship(ctx context.Context) error {
	c := logistics()[0]
	return st.tell(ctx, st.traffic.partner, Step{Actor: c.actor, What: "ships"}, comment{}, func(ctx context.Context, w *work) error {
		own := *w
		own.program = st.traffic.partner
		if err := own.asPartner(ctx, st.rng, c, c.ip); err != nil {
			return err
		}
		if err := w.must(ctx, "ship", st.hero.OrderID); err != nil {
			return err
		}
		return w.must(ctx, "mark_shipped", st.hero.OrderID)
	})
}

func (st *story) fix(ctx context.Context) error {
	return st.tell(ctx, st.traffic.psql, Step{What: "takes 50.00 off by hand"}, comment{}, func(ctx context.Context, w *work) error {
		return w.must(ctx, "fix_by_hand", st.hero.OrderID)
	})
}

func (st *story) refund(ctx context.Context) error {
	m := st.traffic.team.named(heroClerk)
	why := reason{"damaged_in_transit", "Lamp arrived broken; photo in ticket 48213"}
	return st.inPanel(ctx, Step{Actor: m.email, What: "refunds 199.90", Reason: why.code}, m, why, func(ctx context.Context, w *work) error {
		err := w.row(ctx, "pay_refund", []any{st.hero.OrderID, m.id}, &st.hero.RefundID)
		if errors.Is(err, errDeclined) {
			return w.row(ctx, "refund_of", []any{st.hero.OrderID}, &st.hero.RefundID)
		}
		if err != nil {
			return err
		}
		return w.must(ctx, "mark_refunded", st.hero.OrderID, m.email)
	})
}

// inPanel tells a step that a member of staff does in the admin panel.
func (st *story) inPanel(ctx context.Context, step Step, m member, why reason, fn func(context.Context, *work) error) error {
	return st.tell(ctx, st.traffic.panel, step, comment{}, func(ctx context.Context, w *work) error {
		own := *w
		own.program = st.traffic.panel
		if err := own.as(ctx, st.rng, m, why); err != nil {
			return err
		}
		return fn(ctx, w)
	})
}
