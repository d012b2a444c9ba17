-- The keys of this database, one row. Row level security is on because members
-- of pg_read_all_data read every table, but not past a policy.
CREATE TABLE IF NOT EXISTS pgwitness.secret (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    key           bytea   NOT NULL CHECK (length(key) = 32),           -- of the MAC in every stamp
    ipad          bytea   NOT NULL CHECK (length(ipad) = 64),          -- key padded to 64 bytes, each XOR 0x36: the inner block of HMAC
    opad          bytea   NOT NULL CHECK (length(opad) = 64),          -- likewise XOR 0x5c: the outer block
    stream_secret bytea   NOT NULL CHECK (length(stream_secret) = 32), -- salts of the entries are made of it
    created_at    timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON pgwitness.secret FROM PUBLIC;
ALTER TABLE pgwitness.secret ENABLE ROW LEVEL SECURITY;
