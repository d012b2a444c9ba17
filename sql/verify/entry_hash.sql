-- Recomputes the hash of every entry of a stream from the columns that people
-- query, and names the entries whose stored hash is another.
--
--   clickhouse client --database pgwitness --param_stream=shop --queries-file entry_hash.sql
--
-- The answer is one row. entries must not be 0 (a misspelled stream has none);
-- wrong must be 0; wrong_sequences names the first hundred, lowest first.
--
-- It proves: no hashed column of a counted entry differs from what was sealed,
-- unless somebody also wrote a new hash into that entry.
-- It cannot prove: that entries are in order, complete and linked to each other
-- (links.sql), nor that the whole chain was not computed anew by somebody who
-- may write to this table (only checkpoints kept elsewhere tell that).
--
-- Layout: docs/chain-format.md. length() counts bytes. concat() keeps the zero
-- bytes at the end of a FixedString; toString() and CAST would drop them.
-- One pass in no particular order: memory does not grow with the table.
WITH
    x -> concat(toString(length(x)), ':', x, ',')    AS ns,      -- a netstring
    x -> ifNull(ns(x), 'n,')                         AS ns_null, -- of a column that may be NULL
    concat(
        ns('pgwitness/entry/v1'),
        ns(stream),
        ns(toString(sequence)),
        ns(toString(id)),
        ns(toString(toUnixTimestamp64Micro(timestamp))),
        -- who
        ns_null(actor_id),
        ns_null(actor_email),
        ns_null(actor_role),
        ns_null(actor_type),
        -- what
        ns_null(resource_type),
        ns_null(resource_id),
        ns_null(action),
        ns_null(old_values),
        ns_null(new_values),
        ns(arrayStringConcat(arrayMap(name -> ns(name), changed))),
        -- where
        ns_null(source),
        ns_null(ip_address),
        ns_null(user_agent),
        ns_null(geo_country),
        ns_null(geo_city),
        ns_null(geo_lat),
        ns_null(geo_lon),
        -- why
        ns_null(reason_code),
        ns_null(reason_note),
        -- how we know
        ns_null(attribution),
        ns_null(request_id),
        ns_null(trace_id),
        ns_null(api_key_id),
        ns_null(db_user),
        ns_null(application_name),
        -- position
        ns_null(schema_name),
        ns_null(table_name),
        ns_null(operation),
        ns(toString(xid)),
        ns(toString(commit_lsn)),
        ns(toString(ordinal)),
        ns(salt)
    )                                                AS preimage,
    SHA256(preimage)                                 AS content_hash,
    SHA256(concat(char(2), prev_hash, content_hash)) AS recomputed
SELECT
    count()                                                          AS entries,
    countIf(recomputed != entry_hash)                                AS wrong,
    groupArraySortedIf(100)(sequence, recomputed != entry_hash)      AS wrong_sequences
FROM audit_logs
WHERE stream = {stream:String}
