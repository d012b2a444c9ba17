-- What the admin panel sends. Every transaction begins with the member of
-- staff it works for, in one of two ways of setting session variables.

-- name: context
SELECT set_config('audit.actor_id', $1, true), set_config('audit.actor_email', $2, true),
       set_config('audit.actor_role', $3, true), set_config('audit.reason_code', $4, true),
       set_config('audit.reason_note', $5, true), set_config('audit.ip_address', $6, true),
       set_config('audit.user_agent', $7, true), set_config('audit.source', 'admin-panel', true),
       set_config('audit.request_id', $8, true);

-- name: approve_order
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'approved', approved_by = $2::uuid, updated_by = $3 WHERE id = $1 AND status = 'paid';

-- name: refundable
SELECT total::text FROM orders WHERE id = $1 AND status NOT IN ('placed', 'refunded', 'cancelled') FOR UPDATE;

-- name: request_refund
-- changes: refunds
INSERT INTO refunds (order_id, amount, requested_by) VALUES ($1, $2::numeric, $3::uuid) RETURNING id;

-- name: approve_refund
-- changes: refunds
UPDATE refunds SET status = 'approved', approved_by = $2::uuid WHERE id = $1;

-- name: pay_refund
-- changes: refunds
INSERT INTO refunds (order_id, amount, status, requested_by, approved_by)
VALUES ($1, $2::numeric, 'paid_out', $3::uuid, $3::uuid) RETURNING id;

-- name: reject_refund
-- changes: refunds
UPDATE refunds SET status = 'rejected', approved_by = $2::uuid WHERE id = $1 AND status = 'requested';

-- name: mark_refunded
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'refunded', updated_by = $2 WHERE id = $1 AND status <> 'refunded';

-- name: adjust_stock
-- changes: inventory
UPDATE inventory SET on_hand = on_hand + $3::int, counted_at = current_date WHERE warehouse_code = $1 AND sku = $2;

-- name: book_adjustment
-- changes: inventory_movements
INSERT INTO inventory_movements (warehouse_code, sku, kind, quantity, booked_by)
VALUES ($1, $2, $3::movement_kind, $4::int, $5) RETURNING id::text;

-- name: book_on_saturday
-- changes: inventory_movements
INSERT INTO inventory_movements (booked_at, warehouse_code, sku, kind, quantity, booked_by)
VALUES (date_trunc('week', now()) - interval '1 day 2 hours 40 minutes', $1, $2, 'adjustment', $3::int, $4);

-- The goods came last month, the paper came today: the row moves to another
-- partition, which is a DELETE and an INSERT in the write-ahead log.
-- name: redate_movement
-- changes: inventory_movements
-- moves: partition
UPDATE inventory_movements SET booked_at = date_trunc('month', booked_at) - interval '3 days' WHERE id = $1::uuid;

-- name: change_price
-- changes: products
UPDATE products SET price = round(price * $2::numeric, 2), updated_by = $3 WHERE sku = $1;

-- name: switch_rule
-- changes: price_rules
UPDATE price_rules SET active = NOT active, percent = percent + $2::numeric
 WHERE id = $1 AND percent + $2::numeric BETWEEN -90 AND 90;

-- The parcel came back, or the buyer was a fraud: the order is gone although
-- the goods had left.
-- name: cancel_order
-- changes: orders
-- trigger: order_status_history
UPDATE orders SET status = 'cancelled', updated_by = $2 WHERE id = $1 AND status IN ('shipped', 'delivered');

-- name: edit_order
-- changes: orders
UPDATE orders SET discount = discount + $2::numeric, total = greatest(total - $2::numeric, 0), note = $3, updated_by = $4 WHERE id = $1;

-- name: grant_role
-- changes: user_roles
INSERT INTO user_roles (user_id, role_name, granted_by) VALUES ($1::uuid, $2, $3::uuid)
ON CONFLICT DO NOTHING;

-- name: revoke_role
-- changes: user_roles
DELETE FROM user_roles WHERE user_id = $1::uuid AND role_name = $2 AND granted_by IS NOT NULL;

-- name: tag_customer
-- changes: customers
UPDATE customers SET tags = array_append(array_remove(tags, $2), $2) WHERE id = $1;
