-- The outer block of HMAC; see inner_pad().
CREATE OR REPLACE FUNCTION pgwitness.outer_pad() RETURNS bytea
    LANGUAGE sql IMMUTABLE
AS $pgwitness$ SELECT opad FROM pgwitness.secret $pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.outer_pad() FROM PUBLIC;
