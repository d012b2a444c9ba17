package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/jackc/pgx/v5"
)

// bookSize bounds each list of a book.
const bookSize = 4096

// stage is where an order waits for the next hand.
type stage string

const (
	placed    stage = "placed"
	paid      stage = "paid"
	approved  stage = "approved"
	shipped   stage = "shipped"
	delivered stage = "delivered"
)

// book is what the programs know from one deed to the next: the orders that
// wait at each stage, and whom and what there is. It may lag behind the
// database, and then a deed changes nothing. The hero's order is never in it.
type book struct {
	newest    int64 // order, when the shop was read
	mu        sync.Mutex
	skus      []string
	customers []int64
	waiting   map[stage][]int64
	recent    []int64  // orders, for deeds that are not part of an order's way
	requested []int64  // refunds not decided yet
	announced []int64  // orders that a parcel is on its way back of
	movements []string // adjustments of stock
}

func newBook() *book { return &book{waiting: make(map[stage][]int64)} }

// recall reads the shop.
func (b *book) recall(ctx context.Context, p *program) error {
	sql, err := loadStatements("recall")
	if err != nil {
		return err
	}
	as := *p
	as.sql = sql
	err = as.transact(ctx, comment{}, func(w *work) error {
		return b.read(ctx, w)
	})
	if err != nil {
		return fmt.Errorf("read the shop: %w", err)
	}
	if len(b.skus) == 0 || len(b.customers) == 0 {
		return fmt.Errorf("read the shop: nothing to sell or nobody to sell to: seed it first")
	}
	return nil
}

func (b *book) read(ctx context.Context, w *work) error {
	if err := w.row(ctx, "newest", nil, &b.newest); err != nil {
		return err
	}
	err := w.each(ctx, "skus", nil, func(rows pgx.Rows) error {
		var sku string
		err := rows.Scan(&sku)
		b.skus = append(b.skus, sku)
		return err
	})
	if err != nil {
		return err
	}
	err = w.each(ctx, "customers", nil, func(rows pgx.Rows) error {
		var id int64
		err := rows.Scan(&id)
		b.customers = append(b.customers, id)
		return err
	})
	if err != nil {
		return err
	}
	return w.each(ctx, "open_orders", nil, func(rows pgx.Rows) error {
		var id int64
		var status string
		err := rows.Scan(&id, &status)
		b.waiting[stage(status)] = append(b.waiting[stage(status)], id)
		b.recent = append(b.recent, id)
		return err
	})
}

// put lets an order wait at a stage.
func (b *book) put(at stage, order int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[at] = keep(b.waiting[at], order)
	if at == placed {
		b.recent = keep(b.recent, order)
	}
}

// take takes an order from a stage; when none waits there, any recent one,
// with which the deed will most likely change nothing.
func (b *book) take(rng *rand.Rand, at stage) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if list := b.waiting[at]; len(list) > 0 {
		id, _ := draw(rng, &list)
		b.waiting[at] = list
		return id
	}
	if len(b.recent) == 0 {
		return 0
	}
	return pick(rng, b.recent)
}

// anyOrder picks an order of the last year.
func (b *book) anyOrder(rng *rand.Rand) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.recent) == 0 {
		return 0
	}
	return pick(rng, b.recent)
}

func (b *book) anyCustomer(rng *rand.Rand) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return pick(rng, b.customers)
}

func (b *book) welcome(customer int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.customers = keep(b.customers, customer)
}

// sku picks a product: a few are sold far more often than the rest.
func (b *book) sku(rng *rand.Rand) string {
	r := rng.Float64()
	return b.skus[int(r*r*float64(len(b.skus)))]
}

func (b *book) noteRefund(id int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requested = keep(b.requested, id)
}

func (b *book) takeRefund(rng *rand.Rand) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return draw(rng, &b.requested)
}

func (b *book) noteReturn(order int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.announced = keep(b.announced, order)
}

func (b *book) takeReturn(rng *rand.Rand) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return draw(rng, &b.announced)
}

func (b *book) noteMovement(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.movements = keep(b.movements, id)
}

func (b *book) takeMovement(rng *rand.Rand) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return draw(rng, &b.movements)
}

// keep appends, and forgets the older half when the list is full.
func keep[T any](list []T, x T) []T {
	if len(list) >= bookSize {
		list = append(list[:0], list[bookSize/2:]...)
	}
	return append(list, x)
}

// draw takes a random element out of the list.
func draw[T any](rng *rand.Rand, list *[]T) (x T, ok bool) {
	n := len(*list)
	if n == 0 {
		return x, false
	}
	i := rng.IntN(n)
	x = (*list)[i]
	(*list)[i] = (*list)[n-1]
	*list = (*list)[:n-1]
	return x, true
}
