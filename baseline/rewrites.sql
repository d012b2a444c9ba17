-- The tables that the event triggers watch, and the transaction that last gave
-- their rows other values without a row in the log; NULL for none.
SELECT a.relation::bigint  AS id,
       a.known ->> 'z'     AS rewritten
  FROM pgwitness.audited AS a
