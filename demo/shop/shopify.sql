-- What the Shopify connector sends: no hint at all about who or why; only its
-- database role and its application_name tell who it is.

-- name: sync_order
-- changes: orders
INSERT INTO orders (customer_id, external_ref, total, metadata)
VALUES ($1, $2, $3::numeric, $4::jsonb)
ON CONFLICT (external_ref) DO UPDATE SET metadata = orders.metadata || EXCLUDED.metadata
RETURNING xmax = 0;

-- name: sync_tags
-- changes: orders
UPDATE orders SET tags = $2, metadata = metadata || $3::jsonb WHERE id = $1;

-- Rows in the order of their key, so that two batches never wait for each
-- other in a circle.
-- name: sync_stock
-- changes: inventory
INSERT INTO inventory (warehouse_code, sku, on_hand)
SELECT 'RTM', sku, on_hand FROM unnest($1::text[], $2::int[]) AS level (sku, on_hand) ORDER BY sku
ON CONFLICT (warehouse_code, sku) DO UPDATE SET on_hand = EXCLUDED.on_hand
RETURNING xmax = 0;

-- name: merge_staging
-- changes: products
INSERT INTO products (sku, name, category, price)
SELECT sku, 'Imported ' || sku, 'storage', price FROM import_staging WHERE batch = $1::uuid ORDER BY sku
ON CONFLICT (sku) DO UPDATE SET price = EXCLUDED.price, updated_by = 'shopify-connector'
RETURNING xmax = 0;

-- name: clear_staging
-- changes: import_staging
TRUNCATE import_staging;
