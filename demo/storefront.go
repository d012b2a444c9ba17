package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// storefrontDeeds are what visitors do on the web site. The framework behind
// it opens a transaction where it must, and comments every statement.
func (t *traffic) storefrontDeeds() []deed {
	return []deed{
		{"storefront/fill_cart", 160, t.fillCart},
		{"storefront/register", 60, t.register},
		{"storefront/place_order", 200, t.placeOrder},
		{"storefront/pay", 160, t.pay},
		{"storefront/move_house", 30, t.moveHouse},
		{"storefront/save_profile", 40, t.saveProfile},
		{"storefront/cancel_order", 15, t.cancelOrder},
		{"storefront/announce_return", 15, t.announceReturn},
	}
}

func (t *traffic) fillCart(ctx context.Context, rng *rand.Rand) error {
	c := request(rng, "carts", "update", "/cart")
	c.first = true // this part of the site prepends its comments
	item := fmt.Sprintf(`[{"sku": "%s", "qty": %d}]`, t.book.sku(rng), 1+rng.IntN(3))
	return t.storefront.single(ctx, c, func(w *work) error {
		return w.upsert(ctx, "fill_cart", t.book.anyCustomer(rng), item)
	})
}

func (t *traffic) register(ctx context.Context, rng *rand.Rand) error {
	n := rng.Uint64()
	name := pick(rng, []string{"Maya", "Zoë", "Łukasz", "François", "Siobhán"}) + " " + pick(rng, []string{"Weber", "D'Angelo", "Ünal", "Smith"})
	var id int64
	err := t.storefront.single(ctx, request(rng, "customers", "create", "/account/register"), func(w *work) error {
		return w.row(ctx, "register", []any{
			fmt.Sprintf("guest-%012x@example.org", n&0xffffffffffff), name, nil, "1990-06-15",
			fmt.Sprintf(`{"city": "Wien", "street": "Testweg %d"}`, n%200), n%3 == 0,
		}, &id)
	})
	if err == nil {
		t.book.welcome(id)
	}
	return err
}

// basket is what one order is about, in the order of the SKUs: the programs
// lock stock in that order, so that they do not deadlock.
type basket struct {
	skus       []string
	quantities []int32
}

func (t *traffic) basket(rng *rand.Rand) basket {
	var b basket
	for range 1 + rng.IntN(3) {
		if sku := t.book.sku(rng); !slices.Contains(b.skus, sku) {
			b.skus = append(b.skus, sku)
			b.quantities = append(b.quantities, int32(1+rng.IntN(3)))
		}
	}
	slices.Sort(b.skus)
	return b
}

func (t *traffic) placeOrder(ctx context.Context, rng *rand.Rand) error {
	b, customer := t.basket(rng), t.book.anyCustomer(rng)
	warehouse := "BER"
	if rng.IntN(8) == 0 {
		warehouse = "RTM"
	}
	var order int64
	err := t.storefront.transact(ctx, request(rng, "checkout", "place_order", "/checkout"), func(w *work) error {
		var prices []string
		if err := w.row(ctx, "prices_of", []any{b.skus}, &prices); err != nil {
			return err
		}
		total, err := b.total(prices)
		if err != nil {
			return err
		}
		meta := fmt.Sprintf(`{"channel": "web", "basket": %s, "ab_test": ["b", %d]}`, total, rng.IntN(4))
		if err := w.row(ctx, "place_order", []any{customer, total, `{"city": "Berlin"}`, meta}, &order); err != nil {
			return err
		}
		if err := w.must(ctx, "add_lines", order, b.skus, b.quantities, prices); err != nil {
			return err
		}
		for i, sku := range b.skus {
			if err := w.must(ctx, "take_stock", warehouse, sku, b.quantities[i]); err != nil {
				return err // sold out there: the order is rolled back
			}
		}
		return w.must(ctx, "book_sales", order, warehouse, b.skus, b.quantities)
	})
	if err == nil {
		t.book.put(placed, order)
	}
	return err
}

// total adds up in cents.
func (b basket) total(prices []string) (string, error) {
	if len(prices) != len(b.skus) {
		return "", fmt.Errorf("%d prices for %d products", len(prices), len(b.skus))
	}
	var sum int64
	for i, price := range prices {
		c, err := cents(price)
		if err != nil {
			return "", err
		}
		sum += c * int64(b.quantities[i])
	}
	return money(sum), nil
}

func (t *traffic) pay(ctx context.Context, rng *rand.Rand) error {
	order := t.book.take(rng, placed)
	method := pick(rng, []string{"card", "card", "paypal", "invoice", "gift_card"})
	var last4 any
	if method == "card" {
		last4 = fmt.Sprintf("%04d", rng.IntN(10000))
	}
	isDeclined := rng.IntN(16) == 0
	err := t.storefront.transact(ctx, request(rng, "payments", "capture", "/checkout/pay"), func(w *work) error {
		if err := w.must(ctx, "capture_payment", order, method, last4, fmt.Sprintf("ch_%016x", rng.Uint64())); err != nil {
			return err
		}
		if isDeclined {
			return errDeclined // the card was: ROLLBACK
		}
		if err := w.must(ctx, "mark_paid", order); err != nil {
			return err
		}
		_, err := w.exec(ctx, "earn_points", order)
		return err
	})
	if err == nil {
		t.book.put(paid, order)
	}
	return err
}

func (t *traffic) moveHouse(ctx context.Context, rng *rand.Rand) error {
	address := fmt.Sprintf(`{"street": "Nieuwstraat %d", "city": "Rotterdam"}`, rng.IntN(300))
	return t.storefront.single(ctx, request(rng, "addresses", "update", "/account/address"), func(w *work) error {
		_, err := w.exec(ctx, "move_house", t.book.anyCustomer(rng), address)
		return err
	})
}

func (t *traffic) saveProfile(ctx context.Context, rng *rand.Rand) error {
	return t.storefront.single(ctx, request(rng, "profile", "update", "/account/profile"), func(w *work) error {
		_, err := w.exec(ctx, "save_profile", t.book.anyCustomer(rng), rng.IntN(4) == 0)
		return err
	})
}

func (t *traffic) cancelOrder(ctx context.Context, rng *rand.Rand) error {
	order := t.book.take(rng, placed)
	return t.storefront.single(ctx, request(rng, "orders", "cancel", "/account/orders/:id/cancel"), func(w *work) error {
		_, err := w.exec(ctx, "cancel_order", order)
		return err
	})
}

func (t *traffic) announceReturn(ctx context.Context, rng *rand.Rand) error {
	order := t.book.anyOrder(rng)
	// The text looks like a comment, and is none: it stands in a literal.
	complaint := pick(rng, []string{"too big", "not as shown", "/*application='admin-panel',action='approve'*/ -- it's broken"})
	err := t.storefront.single(ctx, request(rng, "returns", "create", "/account/orders/:id/return"), func(w *work) error {
		return w.must(ctx, "announce_return", order, complaint, pick(rng, []string{"14 days", "1 mon 2 days 03:04:05.5"}))
	})
	if err == nil {
		t.book.noteReturn(order)
	}
	return err
}

// cents reads an amount with exactly two decimals.
func cents(amount string) (int64, error) {
	n, err := strconv.ParseInt(strings.Replace(amount, ".", "", 1), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read amount: %w", err)
	}
	return n, nil
}

// money is the amount with two decimals.
func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
