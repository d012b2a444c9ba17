-- Walks a stream in the order of its sequence and compares every entry with
-- the one before it.
--
--   clickhouse client --database pgwitness --param_stream=shop --format Vertical --queries-file links.sql
--
-- The answer is one row. The chain holds when geneses is 1, first_sequence is 0,
-- last_sequence is entries - 1, and every list is empty. Each list names the
-- first hundred places where it was found:
--   broken_links   prev_hash is not the entry_hash of the preceding entry; of
--                  sequence 0: not the hash of the genesis
--   missing        sequences that do not exist, as pairs (first, last)
--   duplicates     sequences that exist more than once
--   out_of_order   the position in the write-ahead log (commit_lsn, ordinal)
--                  does not lie behind that of the preceding entry, and no entry
--                  with the action gap declares that the log begins anew there
--   ordinal_holes  the ordinal does not continue that of the preceding entry of
--                  the same transaction, or does not begin with 0: a change was
--                  left out before the chain was sealed
--
-- It proves: nothing was removed from the middle, inserted, doubled, or put in
-- another order.
-- It cannot prove: that an entry's content is what was sealed (entry_hash.sql),
-- nor that nothing was cut off at the end, nor that the chain was not computed
-- anew from some entry on (only checkpoints kept elsewhere tell those two).
--
-- lagInFrame looks no further than its frame, which is therefore spelled out; a
-- frame of two rows and the sort order of the table keep the memory the same
-- however many rows there are.
WITH
    x -> concat(toString(length(x)), ':', x, ',') AS ns, -- a netstring
    geneses_of_stream AS
    (
        SELECT SHA256(concat(
            ns('pgwitness/genesis/v1'),
            ns(stream),
            ns(system_id),
            ns(toString(timeline)),
            ns(database),
            ns(slot),
            ns(publication),
            ns(log_public_key),
            ns(random),
            ns(toString(toUnixTimestamp64Micro(created_at)))
        )) AS hash
        FROM genesis
        WHERE stream = {stream:String}
    ),
    declared AS -- sequences at which the log may begin anew
    (
        SELECT JSONExtractUInt(assumeNotNull(new_values), 'after_sequence') + 1 AS sequence
        FROM audit_logs
        WHERE stream = {stream:String} AND action = 'gap' AND operation = 'event' AND resource_type = 'pgwitness.stream'
          AND JSONHas(assumeNotNull(new_values), 'after_sequence')
    ),
    neighbours AS
    (
        SELECT
            sequence,
            commit_lsn,
            ordinal,
            substring(seal, 1, 32)                      AS prev_hash,
            substring(seal, 33, 32)                     AS entry_hash,
            lagInFrame(toNullable(sequence)) OVER pair  AS sequence_before, -- NULL for the first row
            lagInFrame(entry_hash)           OVER pair  AS entry_hash_before,
            lagInFrame(commit_lsn)           OVER pair  AS commit_lsn_before,
            lagInFrame(ordinal)              OVER pair  AS ordinal_before
        FROM audit_logs
        WHERE stream = {stream:String}
        WINDOW pair AS (ORDER BY sequence ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ),
    judged AS
    (
        SELECT
            sequence,
            sequence_before,
            sequence_before IS NULL                        AS is_first,
            NOT is_first AND sequence = sequence_before + 1 AS follows,
            commit_lsn = commit_lsn_before                 AS same_transaction,
            multiIf(
                follows,      prev_hash != entry_hash_before,
                sequence = 0, prev_hash NOT IN (SELECT hash FROM geneses_of_stream),
                false)                                     AS broken_link,
            NOT is_first AND sequence = sequence_before    AS duplicate,
            is_first AND sequence > 0
                OR NOT is_first AND sequence > sequence_before + 1 AS missing_before,
            follows AND (commit_lsn, ordinal) <= (commit_lsn_before, ordinal_before)
                AND sequence NOT IN (SELECT sequence FROM declared) AS out_of_order,
            multiIf(
                sequence = 0, ordinal != 0,
                follows,      ordinal != if(same_transaction, ordinal_before + 1, 0),
                false)                                     AS ordinal_hole
        FROM neighbours
    )
SELECT
    count()                                               AS entries,
    (SELECT count() FROM geneses_of_stream)               AS geneses,
    min(sequence)                                         AS first_sequence,
    max(sequence)                                         AS last_sequence,
    groupArraySortedIf(100)(sequence, broken_link)        AS broken_links,
    groupArraySortedIf(100)((ifNull(sequence_before + 1, 0), sequence - 1), missing_before) AS missing,
    groupArraySortedIf(100)(sequence, duplicate)          AS duplicates,
    groupArraySortedIf(100)(sequence, out_of_order)       AS out_of_order,
    groupArraySortedIf(100)(sequence, ordinal_hole)       AS ordinal_holes
FROM judged
SETTINGS optimize_use_projections = 0 -- the table itself is judged, not what was copied from it
