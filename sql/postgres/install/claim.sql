-- What the client says in the session variable audit.<name>, or else in the
-- JSON of audit.context, or else by way of a framework whose preset is
-- configured; NULL when it says nothing. The trail reads them in the same order.
-- Whatever the variables hold, this never raises.
CREATE OR REPLACE FUNCTION pgwitness.claim(name text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
DECLARE
    said text := current_setting('audit.' || name, true);
BEGIN
    IF said <> '' THEN
        RETURN said;
    END IF;
    said := current_setting('audit.context', true);
    BEGIN
        IF said <> '' AND jsonb_typeof(said::jsonb -> name) IN ('string', 'number', 'boolean') AND said::jsonb ->> name <> '' THEN
            RETURN said::jsonb ->> name;
        END IF;
    EXCEPTION WHEN others THEN
        NULL; -- no JSON, and so no claim
    END;
    said := concat({presets});
    IF said = '' THEN
        RETURN NULL;
    END IF;
    BEGIN
        RETURN (SELECT p.found ->> name FROM jsonb_each(('{' || substr(said, 2) || '}')::jsonb) AS p(preset, found)
                 WHERE p.found ->> name <> '' ORDER BY p.preset LIMIT 1);
    EXCEPTION WHEN others THEN
        RETURN NULL; -- characters that jsonb has no place for
    END;
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.claim(text) FROM PUBLIC;
