-- Recomputes the token of every opening in the vault of a stream from the key of
-- its subject, the class and the clear value.
--
--   clickhouse client --database pgwitness --param_stream=shop --queries-file tokens.sql
--
-- The answer is one row: openings, wrong (which must be 0), and the first hundred
-- wrong tokens. It needs the role pgwitness_vault.
--
-- It proves: what the vault says that a token stands for is what was tokenised.
-- It cannot prove: that every token of the trail has an opening (pgwitness verify
-- asks that), nor anything about tokens whose subject was erased.
--
-- Layout: docs/chain-format.md. concat() keeps the zero bytes of a FixedString.
WITH
    x -> concat(toString(length(x)), ':', x, ',') AS ns, -- a netstring
    SHA256(concat(subject_key, ns('pgwitness/token/v1'), ns(CAST(class, 'String')), ns(value))) AS recomputed
SELECT
    count() AS openings,
    countIf(recomputed != token) AS wrong,
    arraySlice(arraySort(groupArrayIf(concat('pii:', lower(hex(token))), recomputed != token)), 1, 100) AS wrong_tokens
FROM (SELECT DISTINCT token, class, value, subject FROM openings WHERE stream = {stream:String}) AS o
INNER JOIN (SELECT DISTINCT subject, subject_key FROM subjects WHERE stream = {stream:String}) AS k ON k.subject = o.subject
FORMAT JSONEachRow
