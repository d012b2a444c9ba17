-- What the event triggers must know: which tables are meant, so that a new one
-- is followed in the transaction that makes it, and what each followed table
-- looked like, so that the entry of an ALTER TABLE says what is different.
CREATE TABLE IF NOT EXISTS pgwitness.pattern (
    position     integer PRIMARY KEY,     -- the first that matches decides; exact names stand before patterns
    publication  name    NOT NULL,        -- that a table is put into
    excludes     boolean NOT NULL,        -- takes tables out again
    schema_regex text    NOT NULL,        -- of the configured name, as a regular expression
    name_regex   text    NOT NULL,
    identity     "char"                   -- replica identity: f full, d default, k keep; NULL where it excludes
);
CREATE TABLE IF NOT EXISTS pgwitness.audited (
    relation     oid   PRIMARY KEY,       -- no regclass: the table may be gone
    known        jsonb NOT NULL           -- pgwitness.describe() when it was last looked at
);
REVOKE ALL ON pgwitness.pattern, pgwitness.audited FROM PUBLIC;
