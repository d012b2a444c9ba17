-- The tables of `make bench-pipeline`: 4 columns, and 12 columns of about 330
-- bytes a row.
CREATE TABLE narrow (
    id       bigint PRIMARY KEY,
    product  int NOT NULL,
    quantity int NOT NULL,
    price    numeric(12,2) NOT NULL
);
CREATE TABLE wide (
    id         bigint PRIMARY KEY,
    customer   bigint NOT NULL,
    status     text NOT NULL,
    channel    text NOT NULL,
    total      numeric(12,2) NOT NULL,
    currency   char(3) NOT NULL,
    paid       boolean NOT NULL,
    placed_at  timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    address    jsonb NOT NULL,
    tags       text[] NOT NULL,
    note       text
);

-- One statement of rows each is one transaction.
CREATE PROCEDURE load_narrow(changes int, rows int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0 .. changes / rows - 1 LOOP
        INSERT INTO narrow
        SELECT n, n % 5000, n % 17, (n % 100000) / 100.0
        FROM generate_series(i::bigint * rows + 1, (i + 1)::bigint * rows) n;
        COMMIT;
    END LOOP;
END $$;

CREATE PROCEDURE load_wide(changes int, rows int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0 .. changes / rows - 1 LOOP
        INSERT INTO wide
        SELECT n, n % 20000, 'paid', 'web', (n % 100000) / 100.0, 'EUR', n % 3 = 0, now(), now(),
            jsonb_build_object('street', 'Long Street ' || n % 300, 'city', 'Springfield', 'zip', n % 90000),
            ARRAY['gift', 'express'], 'to be delivered to the neighbour, ' || md5(n::text) || md5((n + 1)::text)
        FROM generate_series(i::bigint * rows + 1, (i + 1)::bigint * rows) n;
        COMMIT;
    END LOOP;
END $$;
