-- The genesis of a stream as one line of JSON: the first line that
-- docs/verify.py wants, before the lines of export.sql.
--
--   clickhouse client --database pgwitness --param_stream=shop --queries-file export_genesis.sql > shop.jsonl
SELECT
    stream,
    system_id,
    timeline,
    database,
    slot,
    publication,
    lower(hex(log_public_key))           AS log_public_key,
    lower(hex(random))                   AS random,
    toUnixTimestamp64Micro(created_at)   AS created_at -- µs since 1970
FROM genesis
WHERE stream = {stream:String}
FORMAT JSONEachRow
SETTINGS output_format_json_quote_64bit_integers = 0
