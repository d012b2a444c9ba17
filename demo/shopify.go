package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

// shopifyDeeds are what the connector to the marketplace does: a program that
// nobody can change, and that says nothing about itself.
func (t *traffic) shopifyDeeds() []deed {
	return []deed{
		{"shopify-connector/sync_order", 50, t.syncOrder},
		{"shopify-connector/sync_tags", 20, t.syncTags},
		{"shopify-connector/sync_stock", 10, t.syncStock},
		{"shopify-connector/import_prices", 4, t.importPrices},
		{"shopify-connector/clear_staging", 1, t.clearStaging},
	}
}

func (t *traffic) syncOrder(ctx context.Context, rng *rand.Rand) error {
	ref := fmt.Sprintf("gid://shopify/Order/%d", 6000000+rng.IntN(20000))
	meta := fmt.Sprintf(`{"channel": "shopify", "risk": 0.%03d, "synced": %d}`, rng.IntN(1000), rng.IntN(1e6))
	return t.shopify.single(ctx, comment{}, func(w *work) error {
		return w.upsert(ctx, "sync_order", t.book.anyCustomer(rng), ref, money(1000+rng.Int64N(30000)), meta)
	})
}

func (t *traffic) syncTags(ctx context.Context, rng *rand.Rand) error {
	tags := pick(rng, [][]string{{}, {"marketplace"}, {"marketplace", "gift, wrapped", `5" wide`}})
	meta := fmt.Sprintf(`{"rev": %d}`, rng.IntN(1000))
	return t.shopify.single(ctx, comment{}, func(w *work) error {
		_, err := w.exec(ctx, "sync_tags", t.book.anyOrder(rng), tags, meta)
		return err
	})
}

// syncStock sets what lies in Rotterdam, twenty products at a time.
func (t *traffic) syncStock(ctx context.Context, rng *rand.Rand) error {
	var skus []string
	var levels []int32
	for len(skus) < 20 {
		if sku := t.book.sku(rng); !slices.Contains(skus, sku) {
			skus, levels = append(skus, sku), append(levels, int32(500+rng.IntN(2000)))
		}
	}
	return t.shopify.single(ctx, comment{}, func(w *work) error {
		return w.upsert(ctx, "sync_stock", skus, levels)
	})
}

// importPrices loads a list by COPY and merges it; a few products are new.
func (t *traffic) importPrices(ctx context.Context, rng *rand.Rand) error {
	batch := fmt.Sprintf("%08x-0000-4000-8000-%012x", rng.Uint32(), rng.Uint64()>>16)
	var rows [][]any
	seen := make(map[string]bool)
	for line := range 50 {
		sku := t.book.sku(rng)
		if rng.IntN(100) == 0 {
			sku = fmt.Sprintf("IMP-%06d", rng.IntN(1e6))
		}
		if !seen[sku] {
			rows = append(rows, []any{batch, line, sku, money(500 + rng.Int64N(20000)), rng.IntN(100)})
		}
		seen[sku] = true
	}
	return t.shopify.transact(ctx, comment{}, func(w *work) error {
		if err := w.copy(ctx, "import_staging", []string{"batch", "line", "sku", "price", "on_hand"}, rows); err != nil {
			return err
		}
		return w.upsert(ctx, "merge_staging", batch)
	})
}

// clearStaging is a TRUNCATE of its own: within importPrices it would wait for
// the other imports in a circle.
func (t *traffic) clearStaging(ctx context.Context, _ *rand.Rand) error {
	return t.shopify.single(ctx, comment{}, func(w *work) error {
		_, err := w.exec(ctx, "clear_staging")
		return err
	})
}
