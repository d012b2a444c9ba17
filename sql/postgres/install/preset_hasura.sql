-- What Hasura sets in each transaction: its session variables as one JSON
-- object.
CREATE OR REPLACE FUNCTION pgwitness.preset_hasura() RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
DECLARE
    variables text := nullif(current_setting('hasura.user', true), '');
    picked    text;
    session   json;
BEGIN
    IF variables IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        session := variables::json;
        IF json_typeof(session) <> 'object' THEN
            RAISE EXCEPTION 'not what Hasura writes';
        END IF;
        picked := concat(
            ',"actor_id":' || to_json(left(session ->> 'x-hasura-user-id', 8192)),
            ',"actor_email":' || to_json(left(session ->> 'x-hasura-user-email', 8192)),
            ',"actor_role":' || to_json(left(session ->> 'x-hasura-role', 8192)));
    EXCEPTION WHEN others THEN
        picked := concat(',"invalid":', to_json(left(variables, 8192)));
    END;
    RETURN ',"hasura":{' || substr(picked, 2) || '}';
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.preset_hasura() FROM PUBLIC;
