-- The entries of a stream in the text form of PostgreSQL's COPY, for the table
-- of postgres_table.sql. Text travels as bytea, so that no byte is changed or
-- refused on the way.
--
--   clickhouse client --database pgwitness --param_stream=shop --queries-file export_postgres.sql |
--     psql -c '\copy audit_logs from stdin'
WITH
    x -> concat('\\x', lower(hex(x))) AS bytea -- of NULL: NULL, which TabSeparated writes as \N, as COPY does
SELECT
    bytea(stream),
    sequence,
    id,
    toUnixTimestamp64Micro(timestamp), -- µs since 1970
    bytea(actor_id), bytea(actor_email), bytea(actor_role), bytea(actor_type),
    bytea(resource_type), bytea(resource_id), bytea(action), bytea(old_values), bytea(new_values),
    concat('{', arrayStringConcat(arrayMap(name -> concat('"\\', bytea(name), '"'), changed), ','), '}'),
    bytea(source), bytea(ip_address), bytea(user_agent),
    bytea(geo_country), bytea(geo_city), bytea(geo_lat), bytea(geo_lon),
    bytea(reason_code), bytea(reason_note),
    bytea(attribution), bytea(request_id), bytea(trace_id), bytea(api_key_id), bytea(db_user), bytea(application_name),
    bytea(schema_name), bytea(table_name), bytea(operation),
    xid,
    commit_lsn,
    ordinal,
    bytea(salt),
    bytea(prev_hash),
    bytea(entry_hash)
FROM audit_logs
WHERE stream = {stream:String}
ORDER BY sequence
FORMAT TabSeparated
