-- What is in the shop before the first visitor comes. Runs as shop_owner, in
-- one transaction, in the order of this file. Nothing here is random: the same
-- sizes make the same shop, only the dates move with the clock.

-- name: warehouses
-- changes: warehouses
INSERT INTO warehouses (code, name, country, cutoff) VALUES
    ('BER', 'Berlin',    'DE', '16:00'),
    ('RTM', 'Rotterdam', 'NL', '14:30'),
    ('MIL', 'Milano',    'IT', '15:15:30.5');

-- name: roles
-- changes: roles
INSERT INTO roles (name, description, permissions) VALUES
    ('super_admin',        'everything',                   '{*}'),
    ('operations_manager', 'orders, prices and stock',     '{orders.*,prices.*,stock.*}'),
    ('finance',            'refunds and payments',         '{refunds.*,payments.read}'),
    ('support',            'customers and their orders',   '{customers.*,orders.read,orders.edit}'),
    ('warehouse',          'stock of one warehouse',       '{stock.*}'),
    ('auditor',            'reads everything, no more',    '{*.read}');

-- name: users
-- changes: users
INSERT INTO users (id, email, full_name, mfa_enrolled_at, preferences)
SELECT id, email, full_name, now() - interval '200 days', '{"theme":"dark", "locale":"de", "theme_was":"light"}'
  FROM unnest($1::uuid[], $2::text[], $3::text[]) AS staff (id, email, full_name);

-- name: user_roles
-- changes: user_roles
INSERT INTO user_roles (user_id, role_name)
SELECT user_id, role_name FROM unnest($1::uuid[], $2::text[]) AS grants (user_id, role_name);

-- name: api_keys
-- changes: api_keys
INSERT INTO api_keys (id, owner, secret_hash, scopes, allowed_network) VALUES
    ('key_3pl_rtm', 'Rotterdam Logistics B.V.', sha256('rtm'), '{shipments.write,returns.write}', '198.51.100.0/24'),
    ('key_3pl_mil', 'Magazzini Milano S.r.l.',  sha256('mil'), '{shipments.write,returns.write}', '198.51.100.128/25');

-- name: products
-- changes: products
INSERT INTO products (sku, name, category, price, weight_kg, attributes, description, image_sha256)
SELECT 'SKU-' || lpad(i::text, 5, '0'),
       (ARRAY['Oak','Linen','Copper','Felt','Glass','Wool','Cork','Steel'])[1 + i % 8] || ' ' ||
       (ARRAY['Lamp','Chair','Cushion','Kettle','Shelf','Rug','Clock','Vase','Table','Mirror'])[1 + i % 10],
       (ARRAY['light','seating','textile','kitchen','storage'])[1 + i % 5],
       (495 + (i * 7919) % 24000) / 100.0,
       0.1 + (i % 97) * 0.35,
       jsonb_build_object('colour', (ARRAY['natural','sand','größer Fjord','墨'])[1 + i % 4], 'warranty_months', 12 * (1 + i % 3), 'ratio', 1.50),
       CASE WHEN i % 10 = 7
            THEN (SELECT string_agg(md5(i || ':' || j), ' ') FROM generate_series(1, 90) AS j)
            ELSE 'Made to last. "Handle with care" – it''s heavy.' END,
       CASE WHEN i % 3 = 0 THEN sha256(i::text::bytea) END
  FROM generate_series(1, $1::int) AS i;

-- name: price_rules
-- changes: price_rules
INSERT INTO price_rules (name, category, percent, priority, valid) VALUES
    ('Autumn light',    'light',   -10.00, 10,  daterange(current_date - 30, current_date + 30)),
    ('Clearance',       'textile', -35.50, 20,  daterange(current_date - 5, NULL)),
    ('Steel surcharge', NULL,        4.25, 200, daterange(NULL, NULL)),
    ('Kitchen week',    'kitchen', -15.00, 10,  'empty');

-- name: inventory
-- changes: inventory
INSERT INTO inventory (warehouse_code, sku, on_hand, reorder_point, counted_at)
SELECT code, 'SKU-' || lpad(i::text, 5, '0'), 400 + (i * 613) % 4600, 10 + i % 40, current_date - 80
  FROM generate_series(1, $1::int) AS i, unnest(ARRAY['BER','RTM','MIL']) WITH ORDINALITY AS w (code, n)
 WHERE code = 'BER' OR i % 2 = n % 2;

-- name: customers
-- changes: customers
INSERT INTO customers (id, email, full_name, phone, birth_date, address, newsletter, tags, loyalty_points, created_at)
SELECT i, 'customer' || i || '@example.com',
       (ARRAY['Anna','Ben','Chloé','David','Émile','Freya','Jürgen','Hana','Ivo','Jana','Kōji'])[1 + i % 11] || ' ' ||
       (ARRAY['Ahlers','Berg','Conti','Dubois','Eriksen','Fuchs','Groß','Horvat','Ito','Jansen','Kaya','Lund','O''Hara'])[1 + i % 13],
       CASE WHEN i % 4 <> 0 THEN '+49 30 5550' || lpad((i % 10000)::text, 4, '0') END,
       CASE WHEN i % 5 <> 0 THEN date '1950-01-01' + (i * 97) % 20000 END,
       jsonb_build_object('street', 'Teststraße ' || i, 'city', (ARRAY['Berlin','Rotterdam','Milano','Wien'])[1 + i % 4], 'zip', lpad((10000 + i)::text, 5, '0')),
       i % 3 = 0,
       CASE WHEN i % 20 = 0 THEN ARRAY['vip','b2b, net 30'] WHEN i % 7 = 0 THEN ARRAY['vip'] ELSE '{}' END,
       (i * 31) % 900,
       now() - (i % 1400) * interval '1 day'
  FROM generate_series(1, $1::int) AS i;

-- The ids above are given, so that a seed that failed and is tried again makes
-- the same shop; the sequences go on behind them.
-- name: next_customer
SELECT setval(pg_get_serial_sequence('customers', 'id'), $1::bigint);

-- name: seed_lines
CREATE TEMPORARY TABLE seed_lines ON COMMIT DROP AS
SELECT i AS order_id, l AS line_no, p.sku, 1 + (i + l) % 3 AS quantity, p.price
  FROM generate_series(1, $1::int) AS i, generate_series(1, 1 + i % 3) AS l, products p
 WHERE p.sku = 'SKU-' || lpad((1 + (i * 37 + l * 101) % $2::int)::text, 5, '0');

-- The first fifth is older than two years, for the nightly job to archive.
-- name: orders
-- changes: orders
INSERT INTO orders (id, customer_id, external_ref, status, total, shipping_address, metadata, placed_at, updated_at)
SELECT i, 1 + (i * 17) % $2::int,
       CASE WHEN i % 6 = 0 THEN 'gid://shopify/Order/' || 5500000 + i END,
       CASE WHEN i <= $1::int / 5 THEN 'delivered'
            ELSE (ARRAY['placed','paid','paid','approved','shipped','delivered','delivered','delivered','delivered','delivered'])[1 + i % 10] END::order_status,
       (SELECT sum(quantity * price) FROM seed_lines WHERE order_id = i),
       jsonb_build_object('city', 'Berlin', 'zip', lpad((10000 + i)::text, 5, '0')),
       jsonb_build_object('channel', CASE WHEN i % 6 = 0 THEN 'shopify' ELSE 'web' END, 'basket', i * 3.50),
       at, at
  FROM generate_series(1, $1::int) AS i,
       LATERAL (SELECT now() - ($1::int + 1 - i) * interval '100 minutes'
                       - CASE WHEN i <= $1::int / 5 THEN interval '2 years' ELSE interval '0' END) AS placed (at)
 ORDER BY i;

-- name: next_order
SELECT setval(pg_get_serial_sequence('orders', 'id'), $1::bigint);

-- name: order_lines
-- changes: order_lines
INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price)
SELECT order_id, line_no, sku, quantity, price FROM seed_lines ORDER BY order_id, line_no;

-- name: payments
-- changes: payments
INSERT INTO payments (order_id, method, amount, fx_rate, card_last4, provider_ref, captured_at)
SELECT id, (ARRAY['card','paypal','card','invoice','gift_card'])[1 + id % 5]::payment_method, total,
       CASE WHEN id % 9 = 0 THEN 1.0834999999999999 ELSE 1 END,
       CASE WHEN id % 5 IN (0, 2) THEN lpad((id * 7 % 10000)::text, 4, '0') END,
       'ch_' || md5(id::text), placed_at + interval '3 minutes'
  FROM orders WHERE status <> 'placed' ORDER BY id;

-- name: shipments
-- changes: shipments
INSERT INTO shipments (order_id, warehouse_code, carrier, tracking, parcels, weight_kg, shipped_at, delivered_at)
SELECT id, (ARRAY['BER','RTM','MIL'])[1 + id % 3], 'DHL', 'JJD' || lpad(id::text, 12, '0'), 1 + id % 2, 0.5 + (id % 40) * 0.3,
       placed_at + interval '1 day', CASE WHEN status = 'delivered' THEN placed_at + interval '3 days 4 hours' END
  FROM orders WHERE status IN ('shipped', 'delivered') ORDER BY id;

-- Receipts of the last quarter, over its partitions; and, on the Saturdays of
-- the last ten weeks, small write-downs by one clerk: see suspicious.go.
-- name: receipts
-- changes: inventory_movements
INSERT INTO inventory_movements (booked_at, warehouse_code, sku, kind, quantity, booked_by)
SELECT now() - (i % 90) * interval '1 day', 'BER', 'SKU-' || lpad((1 + i % $1::int)::text, 5, '0'), 'receipt'::movement_kind, 50 + i % 200, 'system'
  FROM generate_series(1, 300) AS i
UNION ALL
SELECT date_trunc('week', now()) - week * interval '1 week' - interval '1 day 2 hours 40 minutes',
       'BER', 'SKU-' || lpad((7 + week)::text, 5, '0'), 'adjustment', -4 - week % 5, $2::text
  FROM generate_series(1, 10) AS week;
