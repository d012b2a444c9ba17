-- What the roles of the shop may do before there is a schema. Runs as the
-- administrator, every time; the roles themselves are made in install.go,
-- because their passwords come from the caller.
GRANT USAGE, CREATE ON SCHEMA public TO shop_owner;
GRANT USAGE ON SCHEMA public TO storefront, admin_panel, shopify, nightly;
GRANT shop_owner TO dba_bob;
