-- What the storefront sends: a web framework that sets no session variables,
-- and appends an SQL comment to every statement (see comment.go).

-- name: fill_cart
-- changes: carts
INSERT INTO carts (customer_id, items) VALUES ($1, $2::jsonb)
ON CONFLICT (customer_id) DO UPDATE SET items = carts.items || EXCLUDED.items, updated_at = now()
WHERE jsonb_array_length(carts.items) < 20
RETURNING xmax = 0;

-- name: register
-- changes: customers
INSERT INTO customers (email, full_name, phone, birth_date, address, newsletter)
VALUES ($1, $2, $3, $4::date, $5::jsonb, $6)
RETURNING id;

-- name: move_house
-- changes: customers
UPDATE customers SET address = address || $2::jsonb WHERE id = $1;

-- The form was sent as it was: most often this writes a row that says what
-- the old one said.
-- name: save_profile
-- changes: customers
UPDATE customers SET newsletter = $2 WHERE id = $1;

-- name: place_order
-- changes: orders
INSERT INTO orders (customer_id, total, shipping_address, metadata)
VALUES ($1, $2::numeric, $3::jsonb, $4::jsonb)
RETURNING id;

-- name: prices_of
SELECT array_agg(price::text ORDER BY at) FROM unnest($1::text[]) WITH ORDINALITY AS wanted (sku, at) JOIN products USING (sku);

-- name: add_lines
-- changes: order_lines
INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price)
SELECT $1, line_no, sku, quantity, unit_price
  FROM unnest($2::text[], $3::int[], $4::numeric[]) WITH ORDINALITY AS line (sku, quantity, unit_price, line_no);

-- name: take_stock
-- changes: inventory
UPDATE inventory SET on_hand = on_hand - $3::int WHERE warehouse_code = $1 AND sku = $2;

-- name: book_sales
-- changes: inventory_movements
INSERT INTO inventory_movements (warehouse_code, sku, kind, quantity, order_id)
SELECT $2, sku, 'sale', -quantity, $1
  FROM unnest($3::text[], $4::int[]) AS line (sku, quantity);

-- name: capture_payment
-- changes: payments
INSERT INTO payments (order_id, method, amount, card_last4, provider_ref)
SELECT id, $2::payment_method, greatest(total, 0.01), $3, $4 FROM orders WHERE id = $1 AND status = 'placed';

-- name: mark_paid
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'paid' WHERE id = $1 AND status = 'placed';

-- name: earn_points
-- changes: customers
UPDATE customers SET loyalty_points = loyalty_points + (SELECT floor(total / 10)::int FROM orders WHERE orders.id = $1)
 WHERE id = (SELECT customer_id FROM orders WHERE orders.id = $1);

-- name: cancel_order
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'cancelled' WHERE id = $1 AND status IN ('placed', 'paid');

-- name: announce_return
-- changes: returns
INSERT INTO returns (order_id, line_no, quantity, complaint, grace)
SELECT id, 1, 1, $2, $3::interval FROM orders WHERE id = $1;
