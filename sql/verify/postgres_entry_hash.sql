-- Recomputes the hash of every entry in a copy of the trail that lies in
-- PostgreSQL (postgres_table.sql), and compares every entry with the one before.
--
--   psql -f postgres_entry_hash.sql
--
-- No row is the good answer, once SELECT count(*) has shown that the table is
-- not empty. A row names the sequence and what is wrong with it:
--   entry_hash    the columns do not give the stored hash
--   prev_hash     is not the entry_hash of the preceding entry
--   sequence      does not follow the preceding one: entries are missing or doubled
--
-- It proves: the copy is a whole, unaltered piece of a chain.
-- It cannot prove: that its first entry is linked to the right genesis
-- (export_genesis.sql shows that), that nothing was cut off at the end, nor that
-- the chain was not computed anew (only checkpoints kept elsewhere tell that).
--
-- Layout: docs/chain-format.md. A netstring is length in bytes, colon, bytes,
-- comma; NULL is 'n,'. sha256() is part of PostgreSQL since version 11.
WITH hashed AS
(
    SELECT
        entries.*,
        sha256(
            '\x02'::bytea || prev_hash || sha256((
                -- string_agg keeps the order that is asked for, and has no limit of 100 arguments
                SELECT string_agg(
                    CASE WHEN field.value IS NULL THEN 'n,'::bytea
                         ELSE convert_to(length(field.value) || ':', 'UTF8') || field.value || ','::bytea
                    END, ''::bytea ORDER BY field.place)
                FROM (VALUES
                    ( 1, 'pgwitness/entry/v1'::bytea),
                    ( 2, stream),
                    ( 3, convert_to(sequence::text, 'UTF8')),
                    ( 4, convert_to(id::text, 'UTF8')),
                    ( 5, convert_to("timestamp"::text, 'UTF8')),
                    ( 6, actor_id), ( 7, actor_email), ( 8, actor_role), ( 9, actor_type),
                    (10, resource_type), (11, resource_id), (12, action), (13, old_values), (14, new_values),
                    (15, coalesce((
                        SELECT string_agg(convert_to(length(name) || ':', 'UTF8') || name || ','::bytea, ''::bytea ORDER BY n)
                        FROM unnest(changed) WITH ORDINALITY AS u (name, n)), ''::bytea)),
                    (16, source), (17, ip_address), (18, user_agent),
                    (19, geo_country), (20, geo_city), (21, geo_lat), (22, geo_lon),
                    (23, reason_code), (24, reason_note),
                    (25, attribution), (26, request_id), (27, trace_id), (28, api_key_id), (29, db_user), (30, application_name),
                    (31, schema_name), (32, table_name), (33, operation),
                    (34, convert_to(xid::text, 'UTF8')),
                    (35, convert_to(commit_lsn::text, 'UTF8')),
                    (36, convert_to(ordinal::text, 'UTF8')),
                    (37, salt)
                ) AS field (place, value)
            ))
        )                              AS recomputed,
        lag(sequence)   OVER preceding AS sequence_before,
        lag(entry_hash) OVER preceding AS entry_hash_before
    FROM audit_logs AS entries
    WINDOW preceding AS (PARTITION BY stream ORDER BY sequence)
)
SELECT
    convert_from(stream, 'UTF8')  AS stream,
    sequence,
    wrong.what,
    wrong.want,
    wrong.got
FROM hashed
CROSS JOIN LATERAL (VALUES
    ('entry_hash', encode(recomputed, 'hex'),        encode(entry_hash, 'hex')),
    ('prev_hash',  encode(entry_hash_before, 'hex'), encode(prev_hash, 'hex')),
    ('sequence',   (sequence_before + 1)::text,      sequence::text)
) AS wrong (what, want, got)
WHERE wrong.want <> wrong.got -- unknown, hence no row, where there is no preceding entry
ORDER BY stream, sequence, wrong.what
