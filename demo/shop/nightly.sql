-- What the cron job sends: few transactions, many rows, no hints.

-- name: reprice
-- changes: products
UPDATE products SET price = greatest(round(price * (1 + ((hashtext(sku || $1) % 5) * 0.002))::numeric, 2), 0.50), updated_by = 'nightly';

-- name: close_rules
-- changes: price_rules
UPDATE price_rules SET active = false WHERE active AND (isempty(valid) OR upper(valid) < current_date);

-- name: expire_carts
-- changes: carts
DELETE FROM carts WHERE customer_id % 10 = $1::int;

-- name: old_orders
SELECT id FROM orders
 WHERE status IN ('delivered', 'cancelled') AND placed_at < now() - interval '2 years'
   AND NOT EXISTS (SELECT FROM refunds WHERE refunds.order_id = orders.id)
 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED;

-- name: archive
-- changes: orders_archive
INSERT INTO orders_archive (id, document)
SELECT id, to_jsonb(orders) || jsonb_build_object('lines', (SELECT jsonb_agg(to_jsonb(l)) FROM order_lines AS l WHERE l.order_id = orders.id))
  FROM orders WHERE id = ANY ($1::bigint[]);

-- What the DELETE below takes along: PostgreSQL does not tell the client.
-- name: parts_of
SELECT 'order_lines', count(*) FROM order_lines WHERE order_id = ANY ($1::bigint[])
UNION ALL SELECT 'order_status_history', count(*) FROM order_status_history WHERE order_id = ANY ($1::bigint[])
UNION ALL SELECT 'payments', count(*) FROM payments WHERE order_id = ANY ($1::bigint[])
UNION ALL SELECT 'shipments', count(*) FROM shipments WHERE order_id = ANY ($1::bigint[])
UNION ALL SELECT 'returns', count(*) FROM returns WHERE order_id = ANY ($1::bigint[]);

-- name: delete_orders
-- changes: orders
DELETE FROM orders WHERE id = ANY ($1::bigint[]);
