-- The columns of a table whose values, in the rows that were there, a command
-- changed without a row in the log; NULL for none. before is what was known of the
-- table, with what the event trigger pgwitness_rewrite added: columns x, by number,
-- that the transaction worked on and for which all rows were written anew. They are
-- all that got another type or expression, and may be some that had a constant.
--
-- A column that was added with a constant is not lost: the entry tells the value.
-- Nor is one whose type became wider, when no row was written anew for it; and a
-- new label of an enum changes no row.
CREATE OR REPLACE FUNCTION pgwitness.lost(before jsonb, after jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
    SELECT jsonb_agg(c.look -> 'c' ORDER BY c.place)
      FROM jsonb_array_elements(after -> 'c') WITH ORDINALITY AS c(look, place)
      LEFT JOIN jsonb_array_elements(before -> 'c') AS b(look) ON b.look -> 'n' = c.look -> 'n'
     CROSS JOIN LATERAL (SELECT before -> 'l' -> (c.look ->> 'n') AS was, after -> 'l' -> (c.look ->> 'n') AS now) AS written
     WHERE after ->> 'k' = 'r'
       AND NOT c.look ? 'g'
       AND CASE
           WHEN before ->> 'p' <> 'p' AND after ->> 'p' = 'p' THEN true                -- what was done while it was not in the log
           WHEN b.look IS NULL THEN c.look ? 'e' OR c.look ? 'd' AND NOT c.look ? 'v'
           WHEN before -> 'x' @> (c.look -> 'n') THEN true                             -- ALTER TYPE, SET EXPRESSION
           WHEN b.look ? 'g' THEN true                                                 -- DROP EXPRESSION: in the log from here on
           WHEN b.look -> 't' <> c.look -> 't' THEN NOT (b.look -> 't' IN ('25', '1043') AND c.look -> 't' IN ('25', '1043')) -- text, varchar
           ELSE coalesce(NOT (written.now -> 'l' @> (written.was -> 'l')), false)       -- RENAME VALUE
                OR written.was -> 'a' <> written.now -> 'a'                             -- ADD, DROP ATTRIBUTE
           END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.lost(jsonb, jsonb) FROM PUBLIC;
