-- Who the claimed actor is in the application's own table of users, at this
-- moment and as this transaction sees it. What is found travels in the stamp:
-- so it is the snapshot of the time of action, whenever the log is read.
--
--   presets   what the presets found, each with a comma before it; may be ''
--
-- An id that is not of the column's type (a service account, say) is nobody's.
-- Any other failure is told in the stamp; the application's statement goes on.
CREATE OR REPLACE FUNCTION pgwitness.directory(presets text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
#variable_conflict use_column
DECLARE
    said_actor text := nullif(current_setting('audit.actor_id', true), '');
    said_id    {directory_table}.{directory_id}%TYPE;
    person     text;
BEGIN
    IF said_actor IS NULL AND current_setting('audit.context', true) <> '' THEN
        said_actor := current_setting('audit.context')::json ->> 'actor_id';
    END IF;
    IF said_actor IS NULL AND presets <> '' THEN
        SELECT said.value ->> 'actor_id' INTO said_actor
          FROM json_each(('{' || substr(presets, 2) || '}')::json) AS said
         WHERE said.value ->> 'actor_id' <> '' LIMIT 1;
    END IF;
    IF said_actor IS NULL THEN
        RETURN NULL;
    END IF;
    said_id := said_actor;
    SELECT concat(
               ',"actor_email":' || to_json(left(({directory_email})::text, 8192)),
               ',"actor_role":' || to_json(left(({directory_role})::text, 8192)),
               ',"team":' || to_json(left(({directory_team})::text, 8192)))
      INTO person
      FROM {directory_table} AS u WHERE u.{directory_id} = said_id LIMIT 1;
    RETURN concat(',"w":{"actor_id":', to_json(said_actor), person, '}');
EXCEPTION
    WHEN invalid_text_representation OR numeric_value_out_of_range THEN
        RETURN NULL;
    WHEN others THEN
        RETURN concat(',"w":{"error":', to_json(SQLSTATE), '}');
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.directory(text) FROM PUBLIC;
