-- What a person types into psql: dba_bob, who fixes what the programs cannot,
-- and says to nobody why.

-- name: set_role
SET LOCAL ROLE shop_owner;

-- name: fix_order
-- changes: orders
UPDATE orders SET total = total - 10, note = 'fixed by hand' WHERE id = $1 AND total > 10;

-- name: fix_stock
-- changes: inventory
UPDATE inventory SET on_hand = $3::int WHERE warehouse_code = $1 AND sku = $2;

-- name: drop_line
-- changes: order_lines
DELETE FROM order_lines WHERE order_id = $1 AND line_no = 3;

-- Nobody in the panel will do it, so the administrator of the database does.
-- name: promote
-- changes: user_roles
INSERT INTO user_roles (user_id, role_name) SELECT id, 'operations_manager' FROM users WHERE email = 'noah.keller@shop.example' ON CONFLICT DO NOTHING;

-- name: rename_customer
-- changes: customers
UPDATE customers SET full_name = upper(full_name) WHERE id = $1;
