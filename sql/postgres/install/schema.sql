-- Everything that pgwitness keeps in the audited database lies in this schema.
-- PUBLIC may use it because any role may call pgwitness.event(); what is secret
-- in it has no grants.
CREATE SCHEMA IF NOT EXISTS pgwitness;
GRANT USAGE ON SCHEMA pgwitness TO PUBLIC;
