-- Recomputes tokens in PostgreSQL, out of a table openings (subject_key bytea,
-- class text, value bytea, token text) that somebody who may read the vault has
-- filled; it lists those that are wrong.
--
-- Layout: docs/chain-format.md.
SELECT token
  FROM openings
 WHERE token IS DISTINCT FROM 'pii:' || encode(sha256(
           subject_key || convert_to('18:pgwitness/token/v1,' || octet_length(class) || ':' || class || ',' || octet_length(value) || ':', 'UTF8') || value || '\x2c'::bytea), 'hex')
