-- What the programs of the shop know before their first deed, read from the
-- shop itself, so that traffic can go on where an earlier run ended.

-- name: skus
SELECT sku FROM products ORDER BY sku;

-- name: newest
SELECT coalesce(max(id), 0) FROM orders;

-- name: customers
SELECT id FROM customers ORDER BY id LIMIT 4000;

-- name: open_orders
SELECT id, status::text FROM orders
 WHERE placed_at > now() - interval '1 year' AND status NOT IN ('cancelled', 'refunded')
   AND customer_id NOT IN (SELECT id FROM customers WHERE email = 'greta.lindqvist@example.com')
 ORDER BY id DESC LIMIT 2000;

-- name: seeded
SELECT EXISTS (SELECT FROM products);
