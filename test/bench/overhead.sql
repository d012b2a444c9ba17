-- The tables of `make bench-overhead`: those of pgbench's TPC-B, and the table
-- of shared figures, 8 columns and about 330 bytes a row.
CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 90);
CREATE TABLE pgbench_tellers  (tid int PRIMARY KEY, bid int, tbalance int, filler char(84)) WITH (fillfactor = 90);
CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84)) WITH (fillfactor = 90);
CREATE TABLE pgbench_history  (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO pgbench_branches SELECT i, 0, '' FROM generate_series(1, 10) i;
INSERT INTO pgbench_tellers  SELECT i, 1, 0, '' FROM generate_series(1, 100) i;
INSERT INTO pgbench_accounts SELECT i, 1, 0, '' FROM generate_series(1, 10000) i;

CREATE TABLE wide (
    id         bigint PRIMARY KEY,
    customer   bigint NOT NULL,
    status     text NOT NULL,
    total      numeric(12,2) NOT NULL,
    currency   char(3) NOT NULL,
    placed_at  timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    note       text NOT NULL
);
INSERT INTO wide SELECT i, i % 1000, 'paid', 249.90, 'EUR', '2026-01-01', '2026-01-01', repeat(md5(i::text), 8) FROM generate_series(1, {rows}) i;
