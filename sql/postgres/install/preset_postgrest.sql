-- What PostgREST, and so Supabase, sets in each transaction: the claims of the
-- JSON web token, and the headers of the request. Only what a stamp needs is
-- picked: tokens and cookies among the headers stay where they are.
CREATE OR REPLACE FUNCTION pgwitness.preset_postgrest() RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
DECLARE
    claims  text := nullif(current_setting('request.jwt.claims', true), '');
    headers text := nullif(current_setting('request.headers', true), '');
    picked  text;
    token   json;
    header  json;
BEGIN
    IF claims IS NULL AND headers IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        token := claims::json;
        header := headers::json;
        IF json_typeof(token) <> 'object' OR json_typeof(header) <> 'object' THEN
            RAISE EXCEPTION 'not what PostgREST writes';
        END IF;
        picked := concat(
            ',"actor_id":' || to_json(left(token ->> 'sub', 8192)),
            ',"actor_email":' || to_json(left(token ->> 'email', 8192)),
            -- The role in the application, where a token hook puts one; else that of the database.
            ',"actor_role":' || to_json(left(coalesce(token ->> 'user_role', token #>> '{app_metadata,role}', token ->> 'role'), 8192)),
            -- A proxy that names one client goes before the list that the client can begin.
            ',"ip_address":' || to_json(left(coalesce(header ->> 'cf-connecting-ip', header ->> 'x-real-ip', header ->> 'x-forwarded-for'), 8192)),
            ',"user_agent":' || to_json(left(header ->> 'user-agent', 8192)),
            ',"request_id":' || to_json(left(header ->> 'x-request-id', 8192)),
            ',"traceparent":' || to_json(left(header ->> 'traceparent', 8192)));
    EXCEPTION WHEN others THEN
        picked := concat(',"invalid":', to_json(left(concat_ws(' ', claims, headers), 8192)));
    END;
    RETURN ',"postgrest":{' || substr(picked, 2) || '}';
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.preset_postgrest() FROM PUBLIC;
