-- The entries of a stream as lines of JSON, in order: what docs/verify.py reads.
--
--   clickhouse client --database pgwitness --param_stream=shop --queries-file export.sql >> shop.jsonl
--
-- Every hashed column and the two hashes, nothing else. Values are written as
-- they are stored: bytes that are not UTF-8 stay as they are, which a strict
-- JSON reader refuses and docs/verify.py takes.
SELECT
    stream,
    sequence,
    id,
    toUnixTimestamp64Micro(audit_logs.timestamp) AS timestamp, -- µs since 1970
    actor_id, actor_email, actor_role, actor_type,
    resource_type, resource_id, action, old_values, new_values, changed,
    source, ip_address, user_agent, geo_country, geo_city, geo_lat, geo_lon,
    reason_code, reason_note,
    attribution, request_id, trace_id, api_key_id, db_user, application_name,
    schema_name, table_name, operation,
    xid, commit_lsn, ordinal,
    lower(hex(salt))                    AS salt,
    lower(hex(audit_logs.prev_hash))    AS prev_hash,
    lower(hex(audit_logs.entry_hash))   AS entry_hash
FROM audit_logs
WHERE stream = {stream:String}
ORDER BY sequence
FORMAT JSONEachRow
SETTINGS output_format_json_quote_64bit_integers = 0, output_format_json_validate_utf8 = 0
