-- A table with the columns of {table} on which a trigger is made, looked at and
-- rolled back: so a mistake in the condition is found, and what the server makes
-- of the condition is known, before anything is installed, and nobody's lock is
-- waited for.
CREATE FUNCTION pg_temp.guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TEMPORARY TABLE pgwitness_probe (LIKE {table} INCLUDING GENERATED);
