-- A shop's trail of any length: {count} entries of {total} from {first} on, as the
-- sidecar would have stored them, block by block in the order of the chain. There
-- are 4.6 million a month. Orders have a handful of entries each, close to each
-- other; some goods are changed all the time and most hardly ever; half of the
-- entries are of 500 people of whom some are much busier than others, a third of
-- four services, the rest of customers, and 22 of user:visitor. Salt, hashes and
-- the random part of ids are as incompressible as real ones, and prev_hash is the
-- entry_hash of the entry before; entry_hash does not fit the content.
INSERT INTO audit_logs (id, stream, sequence, timestamp, actor_id, actor_email, actor_role, actor_type, resource_type, resource_id, action,
    old_values, new_values, changed, source, ip_address, user_agent, geo_country, geo_city, reason_code, reason_note, attribution, request_id,
    db_user, application_name, schema_name, table_name, operation, xid, commit_lsn, ordinal, salt, seal)
WITH
    number AS n,
    intDiv(n, 3) AS tx,
    -- numbers that look like chance and are the same in every run
    cityHash64(n, 1) AS r1, cityHash64(n, 2) AS r2, cityHash64(tx, 3) AS t3, cityHash64(n, 4) AS r4,
    fromUnixTimestamp64Micro(toInt64(1767225600000000 + tx * 1690000 + t3 % 1600000), 'UTC') AS committed,
    formatDateTime(committed, '%Y-%m-%d %H:%i:%S.%f+00') AS said,
    -- who: services, staff (some much busier than others), customers, and one who is hardly ever there
    multiIf(n % intDiv({total}, 22) = 7, 'user:visitor', t3 % 100 < 35, ['system:inventory-sync', 'api:shop-connector', 'cron:daily-reconciliation', 'system:payments'][1 + (t3 % 35 > 12) + (t3 % 35 > 25) + (t3 % 35 > 31)],
        t3 % 100 < 85, concat('user:', toString(1000 + toUInt32(500 * pow((intDiv(t3, 100) % 100000) / 100000, 2)))), concat('customer:', toString(intDiv(t3, 100) % 10000))) AS who,
    splitByChar(':', who)[1] AS kind_of_actor,
    -- what: 1 order, 2 line, 3 stock, 4 payment, 5 customer
    [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 5][1 + r1 % 20] AS what,
    intDiv(n, 12) + 5000 - r2 % 5000 AS order_id,
    toUInt32(50000 * pow((r2 % 1000000) / 1000000, 3)) AS sku,
    r4 % 10 AS step,
    multiIf(what = 1, toString(order_id), what = 2, concat(toString(order_id), '/', toString(1 + r4 % 3)), what = 3, concat('SKU-', leftPad(toString(sku), 6, '0')), what = 4, toString(order_id * 2), toString(r2 % 200000)) AS resource,
    multiIf(what = 5, 'update', what IN (2, 4) AND step < 6 OR what = 1 AND step < 2, 'insert', 'update') AS operation_of,
    ['new', 'open', 'paid', 'packed', 'shipped', 'delivered', 'closed'] AS states,
    (1 + r4 % 6)::UInt8 AS at_state,
    toString(toDecimal64((100 + r2 % 90000) / 100, 2)) AS amount
SELECT
    reinterpret(bitOr(bitShiftLeft(toUInt128(bitOr(0x8000000000000000, bitShiftRight(cityHash64(n, 6), 2))), 64), toUInt128(bitOr(bitShiftLeft(toUInt64(intDiv(toUnixTimestamp64Micro(committed), 1000)), 16), 0x7000 + cityHash64(n, 5) % 4096))), 'UUID') AS id,
    'shop' AS stream, n AS sequence, committed AS timestamp,
    who AS actor_id, if(kind_of_actor = 'user', concat(splitByChar(':', who)[2], '@shop.example'), NULL) AS actor_email,
    multiIf(kind_of_actor = 'user', ['clerk', 'clerk', 'manager', 'warehouse'][1 + cityHash64(who) % 4], kind_of_actor = 'customer', NULL, 'service') AS actor_role,
    multiIf(kind_of_actor = 'user', 'human', kind_of_actor = 'customer', 'human', kind_of_actor) AS actor_type,
    ['order', 'order_line', 'stock', 'payment', 'customer'][what] AS resource_type, resource AS resource_id,
    multiIf(operation_of = 'insert', 'create', what = 1 AND at_state = 2, 'approve', what = 4 AND step = 9, 'refund', what = 3 AND kind_of_actor = 'user', 'adjust', 'update') AS action,
    multiIf(operation_of = 'insert', NULL,
        what = 1, concat('{"id":', resource, ',"status":"', states[at_state], '","updated_at":"', formatDateTime(committed - INTERVAL (r2 % 90000000000) MICROSECOND, '%Y-%m-%d %H:%i:%S.%f+00'), '"}'),
        what = 2, concat('{"order_id":', toString(order_id), ',"line":', toString(1 + r4 % 3), ',"quantity":', toString(1 + r4 % 4), '}'),
        what = 3, concat('{"sku":"', resource, '","on_hand":', toString(r4 % 400), '}'),
        what = 4, concat('{"id":', resource, ',"status":"authorized"}'),
        concat('{"id":', resource, ',"phone":"+49', toString(1500000000 + r4 % 99999999), '"}')) AS old_values,
    multiIf(what = 1 AND operation_of = 'insert', concat('{"id":', resource, ',"customer_id":', toString(r2 % 200000), ',"status":"new","total":"', amount, '","currency":"EUR","channel":"', ['web', 'app', 'store'][1 + r4 % 3], '","note":null,"created_at":"', said, '","updated_at":"', said, '"}'),
        what = 1, concat('{"id":', resource, ',"status":"', states[at_state + 1], '","updated_at":"', said, '"}'),
        what = 2 AND operation_of = 'insert', concat('{"order_id":', toString(order_id), ',"line":', toString(1 + r4 % 3), ',"sku":"SKU-', leftPad(toString(sku), 6, '0'), '","quantity":', toString(1 + r4 % 4), ',"price":"', amount, '"}'),
        what = 2, concat('{"order_id":', toString(order_id), ',"line":', toString(1 + r4 % 3), ',"quantity":', toString(r4 % 4), '}'),
        what = 3, concat('{"sku":"', resource, '","on_hand":', toString(toInt64(r4 % 400) - 1 - toInt64(r2 % 5)), '}'),
        what = 4 AND operation_of = 'insert', concat('{"id":', resource, ',"order_id":', toString(order_id), ',"amount":"', amount, '","method":"', ['card', 'card', 'paypal', 'invoice'][1 + r4 % 4], '","status":"authorized"}'),
        what = 4, concat('{"id":', resource, ',"status":"', if(step = 9, 'refunded', 'captured'), '"}'),
        concat('{"id":', resource, ',"phone":"+49', toString(1500000000 + r2 % 99999999), '"}')) AS new_values,
    multiIf(operation_of = 'insert', [], what = 1, ['status', 'updated_at'], what = 2, ['quantity'], what = 3, ['on_hand'], what = 4, ['status'], ['phone']) AS changed,
    multiIf(kind_of_actor = 'user', 'admin panel', kind_of_actor = 'customer', 'storefront', kind_of_actor) AS source,
    if(kind_of_actor = 'customer', concat(toString(cityHash64(who) % 90 + 2), '.', toString(intDiv(cityHash64(who), 100) % 200), '.7.9'), concat('10.0.', toString(cityHash64(who) % 4), '.', toString(intDiv(cityHash64(who), 7) % 250))) AS ip_address,
    if(kind_of_actor IN ('user', 'customer'), ['Mozilla/5.0 (Windows NT 10.0)', 'Mozilla/5.0 (Macintosh)', 'Mozilla/5.0 (iPhone)'][1 + cityHash64(who) % 3], NULL) AS user_agent,
    if(kind_of_actor = 'customer', ['DE', 'DE', 'AT', 'CH'][1 + cityHash64(who) % 4], NULL) AS geo_country, if(kind_of_actor = 'customer', ['Berlin', 'Hamburg', 'Wien', 'Bern'][1 + cityHash64(who) % 4], NULL) AS geo_city,
    multiIf(what = 4 AND step = 9, ['damaged', 'late', 'duplicate'][1 + r2 % 3], what = 3 AND kind_of_actor = 'user', ['count', 'broken', 'theft'][1 + r2 % 3], NULL) AS reason_code,
    if(what = 3 AND kind_of_actor = 'user' AND r2 % 10 = 0, concat('counted shelf ', toString(r4 % 5000)), NULL) AS reason_note,
    if(kind_of_actor IN ('user', 'customer'), '{"actor_id":"session","actor_email":"session","actor_role":"session","ip_address":"session","source":"session"}', '{"actor_id":"rule:services","ip_address":"observed","source":"rule:services"}') AS attribution,
    if(kind_of_actor = 'customer', lower(hex(t3)), NULL) AS request_id,
    if(kind_of_actor IN ('user', 'customer'), 'shop_app', 'shop_jobs') AS db_user, if(kind_of_actor IN ('user', 'customer'), 'puma', concat('job ', who)) AS application_name,
    'public' AS schema_name, ['orders', 'order_lines', 'stock', 'payments', 'customers'][what] AS table_name, operation_of AS operation,
    toUInt32(700000 + tx) AS xid, 4294967296 + tx * 1200 + t3 % 1000 AS commit_lsn, toUInt32(n % 3) AS ordinal,
    MD5(toString(n)) AS salt, toFixedString(concat(SHA256(toString(n)), SHA256(toString(n + 1))), 64) AS seal
FROM numbers({first}, {count})
SETTINGS max_block_size = 40000, max_insert_block_size = 40000, min_insert_block_size_rows = 40000, min_insert_block_size_bytes = 0, max_threads = 1, max_insert_threads = 1, max_partitions_per_insert_block = 0
