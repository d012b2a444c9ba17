package demo

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
)

// archiveBatch is how many orders one night archives.
const archiveBatch = 25

// workAtNight is one night of the cron job: three transactions, two of them
// large.
func (t *traffic) workAtNight(ctx context.Context, rng *rand.Rand) error {
	err := t.nightly.transact(ctx, comment{}, func(w *work) error {
		if _, err := w.exec(ctx, "reprice", fmt.Sprint(rng.IntN(1000))); err != nil {
			return err
		}
		_, err := w.exec(ctx, "close_rules")
		return err
	})
	if err != nil {
		return err
	}
	if err := t.nightly.transact(ctx, comment{}, func(w *work) error { return archive(ctx, w) }); err != nil {
		return err
	}
	return t.nightly.single(ctx, comment{}, func(w *work) error {
		_, err := w.exec(ctx, "expire_carts", rng.IntN(10))
		return err
	})
}

// archive copies orders of more than two years ago into the archive and
// deletes them; the foreign keys delete what hangs on them. Nobody else in the
// shop touches orders that old, so that the parts counted before the DELETE
// are the parts that it takes along.
func archive(ctx context.Context, w *work) error {
	var orders []int64
	err := w.each(ctx, "old_orders", []any{archiveBatch}, func(rows pgx.Rows) error {
		var id int64
		err := rows.Scan(&id)
		orders = append(orders, id)
		return err
	})
	if err != nil || len(orders) == 0 {
		return err
	}
	if err := w.must(ctx, "archive", orders); err != nil {
		return err
	}
	cascade := make(Counts)
	err = w.each(ctx, "parts_of", []any{orders}, func(rows pgx.Rows) error {
		var table string
		var n int64
		err := rows.Scan(&table, &n)
		cascade.add(table, TableCounts{Deleted: n})
		return err
	})
	if err != nil {
		return err
	}
	if err := w.must(ctx, "delete_orders", orders); err != nil {
		return err
	}
	w.changes.merge(cascade)
	return nil
}
