package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// carrier is a logistics partner: its machine calls the shop's API with a key.
type carrier struct{ actor, key, ip, warehouse, name string }

func logistics() []carrier {
	return []carrier{
		{"api:rotterdam-logistics", "key_3pl_rtm", "198.51.100.17", "RTM", "PostNL"},
		{"api:magazzini-milano", "key_3pl_mil", "198.51.100.140", "MIL", "BRT"},
	}
}

// partnerDeeds are what the logistics partners report. The gateway in front of
// the API hands everything it knows on in one JSON.
func (t *traffic) partnerDeeds() []deed {
	return []deed{
		{"partner-api/ship", 70, t.ship},
		{"partner-api/deliver", 60, t.deliver},
		{"partner-api/receive_return", 10, func(ctx context.Context, rng *rand.Rand) error {
			c := pick(rng, logistics())
			return t.receiveReturn(ctx, rng, c, c.ip)
		}},
	}
}

// asPartner makes c the one the transaction works for.
func (w *work) asPartner(ctx context.Context, rng *rand.Rand, c carrier, ip string) error {
	text, err := json.Marshal(map[string]string{
		"actor_id": c.actor, "actor_type": "api", "actor_role": "integration", "source": "partner-api",
		"api_key_id": c.key, "ip_address": ip, "user_agent": "3pl-client/4.2",
		"request_id": fmt.Sprintf("gw-%016x", rng.Uint64()),
	})
	if err != nil {
		return fmt.Errorf("write context: %w", err)
	}
	_, err = w.exec(ctx, "context", string(text))
	return err
}

func (t *traffic) ship(ctx context.Context, rng *rand.Rand) error {
	c, order := pick(rng, logistics()), t.book.take(rng, approved)
	err := t.partner.transact(ctx, comment{}, func(w *work) error {
		if err := w.asPartner(ctx, rng, c, c.ip); err != nil {
			return err
		}
		if err := w.must(ctx, "mark_shipped", order, c.actor); err != nil {
			return err
		}
		tracking, weight := fmt.Sprintf("3S%012d", rng.Int64N(1e12)), fmt.Sprintf("%.2f", 0.2+rng.Float64()*20)
		return w.must(ctx, "ship", order, c.warehouse, c.name, tracking, weight)
	})
	if err == nil {
		t.book.put(shipped, order)
	}
	return err
}

func (t *traffic) deliver(ctx context.Context, rng *rand.Rand) error {
	c, order := pick(rng, logistics()), t.book.take(rng, shipped)
	err := t.partner.transact(ctx, comment{}, func(w *work) error {
		if err := w.asPartner(ctx, rng, c, c.ip); err != nil {
			return err
		}
		if err := w.must(ctx, "mark_delivered", order, c.actor); err != nil {
			return err
		}
		_, err := w.exec(ctx, "deliver", order)
		return err
	})
	if err == nil {
		t.book.put(delivered, order)
	}
	return err
}

// receiveReturn is the report that goods came back. It also marks the use of
// the key, which the reports of every parcel do not.
func (t *traffic) receiveReturn(ctx context.Context, rng *rand.Rand, c carrier, ip string) error {
	order, announced := t.book.takeReturn(rng)
	if !announced {
		order = t.book.anyOrder(rng)
	}
	return t.partner.transact(ctx, comment{}, func(w *work) error {
		if err := w.asPartner(ctx, rng, c, ip); err != nil {
			return err
		}
		if _, err := w.exec(ctx, "receive_return", order, pick(rng, []string{"as new", "opened", "broken"})); err != nil {
			return err
		}
		return w.must(ctx, "use_key", c.key, ip)
	})
}
