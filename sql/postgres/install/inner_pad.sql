-- The inner block of HMAC. IMMUTABLE is a promise that setup keeps: the key is
-- made once and never updated, so the planner may put it into the plan of
-- pgwitness.message(), once per session, instead of reading the table, and
-- locking it, for every stamp.
CREATE OR REPLACE FUNCTION pgwitness.inner_pad() RETURNS bytea
    LANGUAGE sql IMMUTABLE
AS $pgwitness$ SELECT ipad FROM pgwitness.secret $pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.inner_pad() FROM PUBLIC;
