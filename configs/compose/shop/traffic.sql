-- One visit to the shop, run by pgbench again and again: an order is placed
-- with the customer as actor, and an older one is moved on by somebody in the
-- back office, who gives a reason when money goes back.
\set customer random(1, 500)
\set sku random(1, 50)
\set quantity random(1, 5)
\set clerk random(1, 5)
\set fate random(1, 10)

BEGIN;
SELECT set_config('audit.actor_id', 'customer-:customer', true), set_config('audit.actor_type', 'human', true),
       set_config('audit.source', 'storefront', true);
INSERT INTO orders (customer, total)
SELECT 'customer-:customer', price * :quantity FROM products WHERE sku = 'SKU-' || :sku
RETURNING id AS new_order \gset
INSERT INTO order_lines VALUES (:new_order, 'SKU-' || :sku, :quantity);
UPDATE products SET stock = stock - :quantity WHERE sku = 'SKU-' || :sku /*route='%2Fcheckout'*/;
COMMIT;

\if :fate <= 4
BEGIN;
SELECT set_config('audit.actor_id', 'clerk-:clerk', true), set_config('audit.actor_role', 'support', true),
       set_config('audit.actor_type', 'human', true), set_config('audit.source', 'back office', true),
       set_config('audit.reason_code', CASE :fate WHEN 1 THEN 'damaged' ELSE '' END, true);
UPDATE orders SET status = CASE :fate WHEN 1 THEN 'refunded' ELSE 'shipped' END
 WHERE id = (SELECT max(id) FROM orders WHERE status = 'placed' AND id < :new_order);
COMMIT;
\endif
