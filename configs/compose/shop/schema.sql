-- A shop of three tables, for trying out docker-compose.yml with the profile
-- shop. Runs as the superuser before `pgwitness setup`; a second run changes
-- nothing. The application's role and its password come from the environment.
\getenv password SHOP_PASSWORD
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'storefront') AS fresh \gset
\if :fresh
CREATE ROLE storefront LOGIN PASSWORD :'password';
\endif

BEGIN;

CREATE TABLE IF NOT EXISTS products (
    sku   text PRIMARY KEY,
    name  text NOT NULL,
    price numeric(12,2) NOT NULL,
    stock integer NOT NULL
);

CREATE TABLE IF NOT EXISTS orders (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer  text NOT NULL,
    status    text NOT NULL DEFAULT 'placed',
    total     numeric(12,2) NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS order_lines (
    order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE,
    sku      text NOT NULL REFERENCES products,
    quantity integer NOT NULL,
    PRIMARY KEY (order_id, sku)
);

INSERT INTO products
SELECT 'SKU-' || n, 'Product ' || n, 5 + n * 2.5, 1000 FROM generate_series(1, 50) AS n
ON CONFLICT DO NOTHING;

GRANT SELECT, INSERT, UPDATE, DELETE ON products, orders, order_lines TO storefront;

COMMIT;
