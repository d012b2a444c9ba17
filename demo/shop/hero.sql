-- The one order whose whole story is known in advance: see hero.go. Its ids
-- are the only thing that is not written here. Each statement belongs to the
-- actor that hero.go names, and is sent the way that actor sends everything.

-- name: find
SELECT id FROM customers WHERE email = 'greta.lindqvist@example.com';

-- name: register
-- changes: customers
INSERT INTO customers (email, full_name, phone, birth_date, address, newsletter)
VALUES ('greta.lindqvist@example.com', 'Greta Lindqvist', '+46 8 555 0142', '1984-02-29',
        '{"street": "Testgatan 7", "city": "Göteborg", "zip": "41103"}', true)
RETURNING id;

-- name: place_order
-- changes: orders
INSERT INTO orders (customer_id, total, shipping_address, metadata)
VALUES ($1, 249.90, '{"city": "Göteborg", "zip": "41103"}', '{"basket": 249.90, "channel": "web"}')
RETURNING id;

-- name: add_lines
-- changes: order_lines
INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price)
VALUES ($1, 1, 'SKU-00007', 1, 129.00), ($1, 2, 'SKU-00042', 2, 60.45);

-- name: capture_payment
-- changes: payments
INSERT INTO payments (order_id, method, amount, card_last4, provider_ref)
SELECT id, 'card', total, '4242', 'ch_hero_' || id FROM orders WHERE id = $1 AND status = 'placed';

-- name: mark_paid
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'paid' WHERE id = $1 AND status = 'placed';

-- name: approve
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'approved', approved_by = $2::uuid, updated_by = $3 WHERE id = $1 AND status = 'paid';

-- name: sync
-- changes: orders
UPDATE orders SET tags = '{marketplace,gift-wrap}', metadata = metadata || '{"fulfilment": "3pl-rtm"}' WHERE id = $1;

-- name: ship
-- changes: shipments
INSERT INTO shipments (order_id, warehouse_code, carrier, tracking, weight_kg) SELECT id, 'RTM', 'PostNL', '3SHERO0000001', 2.5 FROM orders WHERE id = $1 AND status = 'approved';

-- name: mark_shipped
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'shipped', updated_by = 'api:rotterdam-logistics' WHERE id = $1 AND status = 'approved';

-- name: fix_by_hand
-- changes: orders
UPDATE orders SET total = 199.90, discount = 50 WHERE id = $1;

-- name: pay_refund
-- changes: refunds
INSERT INTO refunds (order_id, amount, status, requested_by, approved_by)
SELECT id, total, 'paid_out', $2::uuid, $2::uuid FROM orders WHERE id = $1 AND status = 'shipped'
RETURNING id;

-- name: refund_of
SELECT id FROM refunds WHERE order_id = $1;

-- name: mark_refunded
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'refunded', note = 'arrived broken', updated_by = $2 WHERE id = $1 AND status = 'shipped';
