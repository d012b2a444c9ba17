-- What cannot change while a connection lives: database, client address (left
-- out on a local socket), process. IMMUTABLE is true for as long as a plan
-- lives, because plans never leave their backend: the facts become a constant
-- in the plan of pgwitness.message().
CREATE OR REPLACE FUNCTION pgwitness.connection_facts() RETURNS text
    LANGUAGE sql IMMUTABLE
AS $pgwitness$
    SELECT pg_catalog.concat(
        ',"d":', pg_catalog.to_json(pg_catalog.current_database()::pg_catalog.text),
        pg_catalog.textcat(pg_catalog.textcat(',"h":"', pg_catalog.host(pg_catalog.inet_client_addr())), '"'),
        ',"i":', pg_catalog.pg_backend_pid())
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.connection_facts() FROM PUBLIC;
