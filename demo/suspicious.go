package demo

import (
	"context"
	"math/rand/v2"
)

// The shop has three stories that anomaly rules should find, and each looks
// harmless one row at a time. They are patterns in the data: the entries
// themselves bear the time of the run, so a rule about week days looks at
// booked_at, as an auditor of the stock ledger would.
//
//  1. Marek Nowak of the warehouse writes stock down by a few pieces, always
//     booked on a Saturday evening, always as a count difference, in the weeks
//     before the quarterly count. Seed booked ten of these.
//  2. Lena Fischer of finance refunds amounts just below 100.00, from where on
//     a second pair of eyes is asked for, and calls them goodwill.
//  3. The key of the partner in Rotterdam, used from the partner's network all
//     day, is also used from an address far away.
const (
	saturdayClerk = "marek.nowak@shop.example"
	limitClerk    = "lena.fischer@shop.example"
	strangeIP     = "203.0.113.77"
)

func (t *traffic) suspiciousDeeds() []deed {
	return []deed{
		{"admin-panel/saturday_writedown", 5, t.saturdayWritedown},
		{"admin-panel/refund_below_limit", 8, t.refundBelowLimit},
		{"partner-api/strange_network", 4, t.strangeNetwork},
	}
}

func (t *traffic) saturdayWritedown(ctx context.Context, rng *rand.Rand) error {
	m, sku, by := t.team.named(saturdayClerk), t.book.sku(rng), -4-rng.IntN(5)
	return t.panel.transact(ctx, comment{}, func(w *work) error {
		if err := w.as(ctx, rng, m, reason{"count_difference", "recount"}); err != nil {
			return err
		}
		if err := w.must(ctx, "adjust_stock", "BER", sku, by); err != nil {
			return err
		}
		return w.must(ctx, "book_on_saturday", "BER", sku, by, m.email)
	})
}

func (t *traffic) refundBelowLimit(ctx context.Context, rng *rand.Rand) error {
	amount := 9500 + rng.Int64N(500)
	return t.payBack(ctx, rng, t.team.named(limitClerk), reason{"goodwill", ""}, func(int64) int64 { return amount })
}

func (t *traffic) strangeNetwork(ctx context.Context, rng *rand.Rand) error {
	return t.receiveReturn(ctx, rng, logistics()[0], strangeIP)
}
