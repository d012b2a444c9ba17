package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// panelDeeds are what the staff does in the admin panel. All of them share the
// connections of the panel; who it is stands in session variables that are
// local to the transaction.
func (t *traffic) panelDeeds() []deed {
	return []deed{
		{"admin-panel/approve_order", 90, t.approveOrder},
		{"admin-panel/refund", 30, t.refund},
		{"admin-panel/request_refund", 10, t.requestRefund},
		{"admin-panel/four_eyes", 8, t.fourEyes},
		{"admin-panel/decide_refund", 8, t.decideRefund},
		{"admin-panel/adjust_stock", 30, t.adjustStock},
		{"admin-panel/redate_movement", 4, t.redateMovement},
		{"admin-panel/transfer_stock", 5, t.transferStock},
		{"admin-panel/change_price", 15, t.changePrice},
		{"admin-panel/switch_rule", 5, t.switchRule},
		{"admin-panel/edit_order", 20, t.editOrder},
		{"admin-panel/cancel_late", 3, t.cancelLate},
		{"admin-panel/edit_many", 8, t.editMany},
		{"admin-panel/change_roles", 6, t.changeRoles},
		{"admin-panel/tag_customer", 12, t.tagCustomer},
	}
}

// as makes m the one the transaction works for, from here to its end or to the
// next call. A reason that is empty leaves an empty variable behind, as an
// unset SET LOCAL does, and means none.
func (w *work) as(ctx context.Context, rng *rand.Rand, m member, why reason) error {
	_, err := w.exec(ctx, "context", m.id, m.email, m.role, why.code, why.note, m.ip, m.agent, fmt.Sprintf("req-%012x", rng.Uint64()>>16))
	return err
}

// asOldPanel does the same for the pages that were never rewritten: with SET
// LOCAL, which takes no parameters. mfa is when m's second factor was checked.
func (w *work) asOldPanel(ctx context.Context, m member, mfa time.Time, why reason) error {
	var sql strings.Builder
	for _, v := range [][2]string{
		{"actor_id", m.id}, {"actor_email", m.email}, {"actor_role", m.role}, {"source", "admin-panel-v1"},
		{"ip_address", m.ip}, {"mfa_at", mfa.UTC().Format(time.RFC3339)}, {"reason_code", why.code}, {"reason_note", why.note},
	} {
		if v[1] != "" {
			sql.WriteString("SET LOCAL audit." + v[0] + " = " + quote(v[1]) + ";")
		}
	}
	if _, err := w.on.Exec(ctx, sql.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("set context: %w", err)
	}
	return nil
}

func (t *traffic) approveOrder(ctx context.Context, rng *rand.Rand) error {
	m, order := t.team.with(rng, "operations_manager", "support"), t.book.take(rng, paid)
	err := t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, reason{}); err != nil {
			return err
		}
		// A double click: the second one changes nothing, and is committed.
		_, err := w.exec(ctx, "approve_order", order, m.id, m.email)
		return err
	})
	if err == nil {
		t.book.put(approved, order)
	}
	return err
}

// refund pays a part or all of an order back at once.
func (t *traffic) refund(ctx context.Context, rng *rand.Rand) error {
	m := t.team.with(rng, "finance")
	return t.payBack(ctx, rng, m, pick(rng, refundReasons()), func(total int64) int64 {
		if rng.IntN(3) == 0 {
			return total
		}
		return total / 5
	})
}

// payBack refunds what amount makes of the order's total, both in cents; an
// amount that is 0 declines.
func (t *traffic) payBack(ctx context.Context, rng *rand.Rand, m member, why reason, amount func(total int64) int64) error {
	order := t.book.take(rng, delivered)
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, why); err != nil {
			return err
		}
		var total string
		if err := w.row(ctx, "refundable", []any{order}, &total); err != nil {
			return err
		}
		all, err := cents(total)
		if err != nil {
			return err
		}
		back := amount(all)
		if back <= 0 || back > all {
			return errDeclined
		}
		var refund int64
		if err := w.row(ctx, "pay_refund", []any{order, money(back), m.id}, &refund); err != nil {
			return err
		}
		if back < all {
			return nil
		}
		return w.must(ctx, "mark_refunded", order, m.email)
	})
}

func (t *traffic) requestRefund(ctx context.Context, rng *rand.Rand) error {
	m, order := t.team.with(rng, "support"), t.book.anyOrder(rng)
	var refund int64
	err := t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, pick(rng, refundReasons())); err != nil {
			return err
		}
		return w.row(ctx, "request_refund", []any{order, money(500 + rng.Int64N(20000)), m.id}, &refund)
	})
	if err == nil {
		t.book.noteRefund(refund)
	}
	return err
}

// fourEyes is one transaction with two people in it: support asks for a
// refund, finance grants it. Each row belongs to the one who did it.
func (t *traffic) fourEyes(ctx context.Context, rng *rand.Rand) error {
	asks, grants := t.team.with(rng, "support"), t.team.with(rng, "finance")
	order := t.book.anyOrder(rng)
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, asks, reason{"customer_request", "asked by phone"}); err != nil {
			return err
		}
		var refund int64
		if err := w.row(ctx, "request_refund", []any{order, money(1000 + rng.Int64N(9000)), asks.id}, &refund); err != nil {
			return err
		}
		if err := w.as(ctx, rng, grants, reason{"four_eyes", "checked against ticket"}); err != nil {
			return err
		}
		return w.must(ctx, "approve_refund", refund, grants.id)
	})
}

func (t *traffic) decideRefund(ctx context.Context, rng *rand.Rand) error {
	refund, ok := t.book.takeRefund(rng)
	if !ok {
		return errDeclined
	}
	m := t.team.with(rng, "finance")
	what, why := "approve_refund", reason{"within_policy", ""}
	if rng.IntN(2) == 0 {
		what, why = "reject_refund", reason{"outside_policy", "Return window of 14 days is over"}
	}
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, why); err != nil {
			return err
		}
		_, err := w.exec(ctx, what, refund, m.id)
		return err
	})
}

func (t *traffic) adjustStock(ctx context.Context, rng *rand.Rand) error {
	m, sku := t.team.with(rng, "warehouse"), t.book.sku(rng)
	by := pick(rng, []int{-24, -9, -2, -1, 1, 3, 12, 250})
	var movement string
	err := t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, pick(rng, stockReasons())); err != nil {
			return err
		}
		if err := w.must(ctx, "adjust_stock", "BER", sku, by); err != nil {
			return err
		}
		return w.row(ctx, "book_adjustment", []any{"BER", sku, "adjustment", by, m.email}, &movement)
	})
	if err == nil {
		t.book.noteMovement(movement)
	}
	return err
}

func (t *traffic) redateMovement(ctx context.Context, rng *rand.Rand) error {
	movement, ok := t.book.takeMovement(rng)
	if !ok {
		return errDeclined
	}
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, t.team.with(rng, "warehouse"), reason{"late_paper", "Delivery note of last month"}); err != nil {
			return err
		}
		_, err := w.exec(ctx, "redate_movement", movement)
		return err
	})
}

// transferStock moves goods between two shelves in whatever order they were
// scanned: two of these can deadlock, and one of them is tried again.
func (t *traffic) transferStock(ctx context.Context, rng *rand.Rand) error {
	shelves := slices.Clone(t.book.skus[:3])
	rng.Shuffle(len(shelves), func(i, j int) { shelves[i], shelves[j] = shelves[j], shelves[i] })
	m := t.team.with(rng, "warehouse")
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, reason{"transfer", ""}); err != nil {
			return err
		}
		for i, by := range []int{-1, 1} {
			if err := w.must(ctx, "adjust_stock", "BER", shelves[i], by); err != nil {
				return err
			}
			if err := w.must(ctx, "book_adjustment", "BER", shelves[i], "transfer", by, m.email); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *traffic) changePrice(ctx context.Context, rng *rand.Rand) error {
	m := t.team.with(rng, "operations_manager")
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, pick(rng, []reason{{"price_match", "Competitor at -3 %"}, {"price_error", ""}, {"price_match", "Matched on the phone"}, {}})); err != nil {
			return err
		}
		_, err := w.exec(ctx, "change_price", t.book.sku(rng), pick(rng, []string{"0.97", "1.03", "1.00"}), m.email)
		return err
	})
}

func (t *traffic) switchRule(ctx context.Context, rng *rand.Rand) error {
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, t.team.with(rng, "operations_manager"), reason{"campaign", ""}); err != nil {
			return err
		}
		_, err := w.exec(ctx, "switch_rule", 1+rng.IntN(4), pick(rng, []string{"0.50", "-0.50"}))
		return err
	})
}

func (t *traffic) editOrder(ctx context.Context, rng *rand.Rand) error {
	m, order := t.team.with(rng, "support"), t.book.anyOrder(rng)
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, pick(rng, []reason{{"goodwill", "5 off for the wait"}, {}})); err != nil {
			return err
		}
		_, err := w.exec(ctx, "edit_order", order, "5.00", "said sorry", m.email)
		return err
	})
}

// cancelLate cancels an order whose goods have left, which the panel wants a
// reason for.
func (t *traffic) cancelLate(ctx context.Context, rng *rand.Rand) error {
	m, order := t.team.with(rng, "support"), t.book.take(rng, delivered)
	why := pick(rng, []reason{{"undeliverable", "Parcel came back, address unknown"}, {"fraud", "Chargeback, card was stolen"}, {}})
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, why); err != nil {
			return err
		}
		return w.must(ctx, "cancel_order", order, m.email)
	})
}

// editMany goes through a list of orders; each is a savepoint, and one in
// three is taken back.
func (t *traffic) editMany(ctx context.Context, rng *rand.Rand) error {
	m := t.team.with(rng, "operations_manager")
	orders := []int64{t.book.anyOrder(rng), t.book.anyOrder(rng), t.book.anyOrder(rng)}
	slices.Sort(orders)
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, reason{"bulk_edit", "Holiday notice"}); err != nil {
			return err
		}
		for _, order := range orders {
			undo := rng.IntN(3) == 0
			err := w.savepoint(ctx, func(w *work) error {
				if _, err := w.exec(ctx, "edit_order", order, "0.00", "delivery may take longer", m.email); err != nil {
					return err
				}
				if undo {
					return errDeclined
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *traffic) changeRoles(ctx context.Context, rng *rand.Rand) error {
	admin, whom := t.team.with(rng, "super_admin"), pick(rng, t.team)
	role := pick(rng, []string{"support", "warehouse", "finance"})
	mfa := time.Now().Add(-pick(rng, []time.Duration{time.Minute, 4 * time.Minute, 9 * time.Minute, 3 * time.Hour}))
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.asOldPanel(ctx, admin, mfa, reason{"staffing", "Covers for a colleague's holiday"}); err != nil {
			return err
		}
		if rng.IntN(2) == 0 {
			_, err := w.exec(ctx, "revoke_role", whom.id, role)
			return err
		}
		_, err := w.exec(ctx, "grant_role", whom.id, role, admin.id)
		return err
	})
}

func (t *traffic) tagCustomer(ctx context.Context, rng *rand.Rand) error {
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, t.team.with(rng, "support"), reason{}); err != nil {
			return err
		}
		_, err := w.exec(ctx, "tag_customer", t.book.anyCustomer(rng), pick(rng, []string{"vip", "calls a lot", `said "never again"`}))
		return err
	})
}
