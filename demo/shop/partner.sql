-- What the logistics partners send through the shop's API: the gateway puts
-- all it knows into one JSON and marks the use of the key.

-- name: context
SELECT set_config('audit.context', $1, true);

-- name: use_key
-- changes: api_keys
UPDATE api_keys SET last_used_at = now(), last_used_ip = $2::inet WHERE id = $1;

-- name: ship
-- changes: shipments
INSERT INTO shipments (order_id, warehouse_code, carrier, tracking, weight_kg) VALUES ($1, $2, $3, $4, $5::real);

-- name: mark_shipped
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'shipped', updated_by = $2 WHERE id = $1 AND status = 'approved';

-- name: deliver
-- changes: shipments
UPDATE shipments SET delivered_at = now() WHERE order_id = $1 AND delivered_at IS NULL;

-- name: mark_delivered
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'delivered', updated_by = $2 WHERE id = $1 AND status = 'shipped';

-- name: receive_return
-- changes: returns
UPDATE returns SET received_at = now(), item_condition = $2 WHERE order_id = $1 AND received_at IS NULL;
