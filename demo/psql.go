package demo

import (
	"context"
	"math/rand/v2"
)

// psqlDeeds are what dba_bob does by hand, in turn.
func (t *traffic) psqlDeeds() []deed {
	return []deed{
		{"psql/fix_order", 0, t.fixOrder},
		{"psql/fix_stock", 0, t.fixStock},
		{"psql/drop_line", 0, t.dropLine},
		{"psql/rename_customer", 0, t.renameCustomer},
		{"psql/promote", 0, t.promote},
	}
}

func (t *traffic) fixOrder(ctx context.Context, rng *rand.Rand) error {
	order := t.book.anyOrder(rng)
	return t.psql.single(ctx, comment{}, func(w *work) error {
		_, err := w.exec(ctx, "fix_order", order)
		return err
	})
}

func (t *traffic) fixStock(ctx context.Context, rng *rand.Rand) error {
	return t.psql.single(ctx, comment{}, func(w *work) error {
		_, err := w.exec(ctx, "fix_stock", "BER", t.book.sku(rng), 100+rng.IntN(400))
		return err
	})
}

// dropLine is done in the role of the owner: session user and current user
// differ.
func (t *traffic) dropLine(ctx context.Context, rng *rand.Rand) error {
	order := t.book.anyOrder(rng)
	return t.psql.transact(ctx, comment{}, func(w *work) error {
		if _, err := w.exec(ctx, "set_role"); err != nil {
			return err
		}
		_, err := w.exec(ctx, "drop_line", order)
		return err
	})
}

// renameCustomer is begun, looked at, and taken back.
func (t *traffic) renameCustomer(ctx context.Context, rng *rand.Rand) error {
	return t.psql.transact(ctx, comment{}, func(w *work) error {
		if _, err := w.exec(ctx, "rename_customer", t.book.anyCustomer(rng)); err != nil {
			return err
		}
		return errDeclined
	})
}

// promote gives a colleague in support the role of a manager, which the panel
// leaves to the super admin.
func (t *traffic) promote(ctx context.Context, _ *rand.Rand) error {
	return t.psql.single(ctx, comment{}, func(w *work) error {
		_, err := w.exec(ctx, "promote")
		return err
	})
}
