-- What the client says in the session variable audit.<name>, or else in the
-- JSON of audit.context; NULL when it says nothing. The trail reads them in the
-- same order. Whatever audit.context holds, this never raises.
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
    IF said IS NULL OR said = '' THEN
        RETURN NULL;
    END IF;
    BEGIN
        IF jsonb_typeof(said::jsonb -> name) IN ('string', 'number', 'boolean') THEN
            RETURN nullif(said::jsonb ->> name, '');
        END IF;
    EXCEPTION WHEN others THEN
        NULL; -- no JSON, and so no claim
    END;
    RETURN NULL;
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.claim(text) FROM PUBLIC;
