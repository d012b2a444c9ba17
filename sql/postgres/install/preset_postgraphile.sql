-- What PostGraphile sets in each transaction: one variable per claim of the JSON
-- web token. Of the names of the user in its documentation, the first that is
-- set counts.
CREATE OR REPLACE FUNCTION pgwitness.preset_postgraphile() RETURNS text
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
    SELECT ',"postgraphile":{' || substr(nullif(concat(
        ',"actor_id":' || to_json(left(coalesce(nullif(current_setting('jwt.claims.user_id', true), ''),
                                               nullif(current_setting('jwt.claims.sub', true), ''),
                                               nullif(current_setting('jwt.claims.person_id', true), '')), 8192)),
        ',"actor_email":' || to_json(left(nullif(current_setting('jwt.claims.email', true), ''), 8192)),
        ',"actor_role":' || to_json(left(nullif(current_setting('jwt.claims.role', true), ''), 8192))), ''), 2) || '}'
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.preset_postgraphile() FROM PUBLIC;
