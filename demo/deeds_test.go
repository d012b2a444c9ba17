package demo

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/test/harness"
)

// readyTraffic is the traffic of a seeded shop with no worker in it.
func readyTraffic(t *testing.T, shop *Shop) *traffic {
	t.Helper()
	tr, err := shop.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	if err := tr.book.recall(t.Context(), tr.panel); err != nil {
		t.Fatal(err)
	}
	return tr
}

// Each deed, done over and over, ends well or is declined, and commits
// something at last: no statement is missing, none is not allowed.
func TestEveryDeedIsDone(t *testing.T) {
	shop, census := openShop(t, harness.Postgres(t), DefaultConfig())
	tr := readyTraffic(t, shop)
	rng := rand.New(rand.NewPCG(7, 7))
	for _, d := range append(append(tr.deeds, tr.night), tr.byHand...) {
		before := shop.Tally()
		for range 30 {
			if err := d.do(t.Context(), rng); err != nil && !errors.Is(err, errDeclined) {
				t.Fatalf("%s: %v", d.name, err)
			}
		}
		after := shop.Tally()
		changed := after.Changes.Total() - before.Changes.Total()
		if d.name == "psql/rename_customer" {
			if changed != 0 || after.RolledBack-before.RolledBack != 30 {
				t.Errorf("%s: %d changes stayed", d.name, changed)
			}
		} else if changed == 0 {
			t.Errorf("%s changed nothing in 30 attempts", d.name)
		}
	}
	counted, err := census.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(counted, audited(shop.Tally().Changes)); diff != "" {
		t.Errorf("the shop counted other changes than PostgreSQL (-postgres +shop):\n%s", diff)
	}
	for _, table := range Tables() {
		if counted[table].Total() == 0 {
			t.Errorf("no deed and no seed changes %s", table)
		}
	}
}

// Two transactions that hold one row each and want the other one's: PostgreSQL
// aborts one of them, and that one is tried again.
func TestDeadlockIsTriedAgain(t *testing.T) {
	pg := harness.Postgres(t)
	shop, census := openShop(t, pg, DefaultConfig())
	tr := readyTraffic(t, shop)
	before := shop.Tally()
	holding := make(chan struct{}, 2)
	both := make(chan struct{})
	go func() {
		<-holding
		<-holding
		close(both)
	}()
	hold := func(first, second string) error {
		return tr.panel.transact(t.Context(), comment{}, func(w *work) error {
			if err := w.must(t.Context(), "adjust_stock", "BER", first, 1); err != nil {
				return err
			}
			select {
			case holding <- struct{}{}:
			case <-both:
			}
			<-both
			return w.must(t.Context(), "adjust_stock", "BER", second, 1)
		})
	}
	done := make(chan error, 2)
	go func() { done <- hold("SKU-00001", "SKU-00002") }()
	go func() { done <- hold("SKU-00002", "SKU-00001") }()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	after := shop.Tally()
	if after.Retried-before.Retried != 1 || after.Changes["inventory"].Updated-before.Changes["inventory"].Updated != 4 {
		t.Errorf("retried %d times and counted %+v", after.Retried-before.Retried, after.Changes["inventory"])
	}
	counted, err := census.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := counted["inventory"].Updated; got != 4 {
		t.Errorf("PostgreSQL counted %d updates, want 4", got)
	}
}

// What a savepoint took back is not counted, the rest is.
func TestSavepointTakesItsCountsAlong(t *testing.T) {
	shop, census := openShop(t, harness.Postgres(t), DefaultConfig())
	tr := readyTraffic(t, shop)
	ctx := t.Context()
	err := tr.panel.transact(ctx, comment{}, func(w *work) error {
		for _, undo := range []bool{true, false} {
			err := w.savepoint(ctx, func(w *work) error {
				if err := w.must(ctx, "adjust_stock", "BER", "SKU-00003", 1); err != nil {
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
		// A failure that the database itself finds: stock cannot be negative.
		return w.savepoint(ctx, func(w *work) error {
			_, err := w.exec(ctx, "adjust_stock", "BER", "SKU-00003", -1_000_000)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	counted, err := census.Count(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := shop.Tally().Changes["inventory"].Updated; got != 1 || counted["inventory"].Updated != 1 {
		t.Errorf("shop counted %d updates, PostgreSQL %d, want 1", got, counted["inventory"].Updated)
	}
}

// The suspicious stories are there to be found.
func TestSuspiciousStories(t *testing.T) {
	pg := harness.Postgres(t)
	shop, _ := openShop(t, pg, DefaultConfig())
	tr := readyTraffic(t, shop)
	rng := rand.New(rand.NewPCG(3, 3))
	for _, d := range tr.suspiciousDeeds() {
		for range 20 {
			if err := d.do(t.Context(), rng); err != nil && !errors.Is(err, errDeclined) {
				t.Fatalf("%s: %v", d.name, err)
			}
		}
	}
	for query, want := range map[string]string{
		`SELECT bool_and(extract(isodow FROM booked_at) = 6 AND quantity < 0) AND count(*) >= 25
		   FROM inventory_movements WHERE booked_by = '` + saturdayClerk + `'`: "t",
		`SELECT bool_and(amount BETWEEN 95 AND 99.99) AND count(*) > 3
		   FROM refunds JOIN users ON users.id = requested_by WHERE email = '` + limitClerk + `'`: "t",
		`SELECT last_used_ip <<= allowed_network FROM api_keys WHERE id = 'key_3pl_rtm'`: "f",
	} {
		if got := pg.Value(query); got != want {
			t.Errorf("%s\ngot %q, want %q", query, got, want)
		}
	}
}
