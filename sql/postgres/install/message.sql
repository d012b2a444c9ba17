-- The content of a message: kind and version, 16 bytes of HMAC-SHA256 over them
-- and the payload, the payload. See docs/stamps.md.
--
--   kind   'S1' a stamp, 'E1' an event
--   depth  trigger depth of the statement; 0 is left out
--   state  what pgwitness.stamp() compares, if it is the caller: it tells
--          without another look whether session variables are set at all
--   more   further members of the payload, each with a comma before it
--
-- It must never raise, because the application's statement would fail with it:
-- hence the block with EXCEPTION. Nothing is written inside of it, so that its
-- subtransaction costs no transaction id. The caller writes.
--
-- debug_print_plan is off because any role may turn it on, and the key is a
-- constant of a plan of this function. The search path is set because then
-- operators and functions are pg_catalog's, whatever the client has made.
CREATE OR REPLACE FUNCTION pgwitness.message(kind bytea, depth integer, state text, more text) RETURNS bytea
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET debug_print_plan = off
AS $pgwitness$
DECLARE
    query   text := current_query();
    claims  text;
    presets text;
    person  text;
    payload text;
    body    bytea;
BEGIN
    BEGIN
        -- Asserted: the session variables. A variable that was set and reset reads as ''.
        -- Their names are short because every byte is paid for; docs/stamps.md lists them.
        IF state IS NULL OR length(rtrim(state, E'\x1f')) > strpos(state, E'\x1e') THEN
            claims := concat(
                CASE WHEN current_setting('audit.actor_id', true) <> '' THEN ',"i":' || to_json(left(current_setting('audit.actor_id', true), 8192)) END,
                CASE WHEN current_setting('audit.actor_email', true) <> '' THEN ',"e":' || to_json(left(current_setting('audit.actor_email', true), 8192)) END,
                CASE WHEN current_setting('audit.actor_role', true) <> '' THEN ',"r":' || to_json(left(current_setting('audit.actor_role', true), 8192)) END,
                CASE WHEN current_setting('audit.actor_type', true) <> '' THEN ',"t":' || to_json(left(current_setting('audit.actor_type', true), 8192)) END,
                CASE WHEN current_setting('audit.reason_code', true) <> '' THEN ',"c":' || to_json(left(current_setting('audit.reason_code', true), 8192)) END,
                CASE WHEN current_setting('audit.reason_note', true) <> '' THEN ',"n":' || to_json(left(current_setting('audit.reason_note', true), 8192)) END,
                CASE WHEN current_setting('audit.ip_address', true) <> '' THEN ',"a":' || to_json(left(current_setting('audit.ip_address', true), 8192)) END,
                CASE WHEN current_setting('audit.user_agent', true) <> '' THEN ',"u":' || to_json(left(current_setting('audit.user_agent', true), 8192)) END,
                CASE WHEN current_setting('audit.source', true) <> '' THEN ',"s":' || to_json(left(current_setting('audit.source', true), 8192)) END,
                CASE WHEN current_setting('audit.request_id', true) <> '' THEN ',"q":' || to_json(left(current_setting('audit.request_id', true), 8192)) END,
                CASE WHEN current_setting('audit.api_key_id', true) <> '' THEN ',"k":' || to_json(left(current_setting('audit.api_key_id', true), 8192)) END,
                CASE WHEN current_setting('audit.mfa_at', true) <> '' THEN ',"m":' || to_json(left(current_setting('audit.mfa_at', true), 8192)) END,
                CASE WHEN current_setting('audit.context', true) <> '' THEN ',"x":' || to_json(left(current_setting('audit.context', true), 1048576)) END);
            claims := CASE WHEN claims <> '' THEN concat(',"c":{', substr(claims, 2), '}') END;
            IF length(claims) > 8192 AND (
                length(current_setting('audit.actor_id', true)) > 8192 OR
                length(current_setting('audit.actor_email', true)) > 8192 OR
                length(current_setting('audit.actor_role', true)) > 8192 OR
                length(current_setting('audit.actor_type', true)) > 8192 OR
                length(current_setting('audit.reason_code', true)) > 8192 OR
                length(current_setting('audit.reason_note', true)) > 8192 OR
                length(current_setting('audit.ip_address', true)) > 8192 OR
                length(current_setting('audit.user_agent', true)) > 8192 OR
                length(current_setting('audit.source', true)) > 8192 OR
                length(current_setting('audit.request_id', true)) > 8192 OR
                length(current_setting('audit.api_key_id', true)) > 8192 OR
                length(current_setting('audit.mfa_at', true)) > 8192 OR
                length(current_setting('audit.context', true)) > 1048576) THEN
                claims := concat(claims, ',"cc":true');
            END IF;
            -- Asserted, too: what a framework sets by itself, if that is configured.
            presets := concat({presets});
            person := {directory};
            presets := CASE WHEN presets <> '' THEN concat(',"p":{', substr(presets, 2), '}') END;
        END IF;

        -- The client's query, only when it may hold a comment; and what must be known
        -- to tell a comment from a literal.
        IF query IS NULL OR query NOT LIKE '%/*%' THEN
            query := NULL; -- a background worker has none at all
        ELSIF length(query) <= 8192 THEN
            query := concat(',"q":', to_json(query));
        ELSE
            query := concat(',"q":', to_json(concat(left(query, 4096), right(query, 4096))), ',"qc":true',
                CASE WHEN strpos(substr(query, 4097, length(query) - 8192), '--') > 0 THEN ',"qd":true' END);
        END IF;
        IF query IS NOT NULL AND current_setting('standard_conforming_strings') = 'off' THEN
            query := concat(query, ',"qb":true');
        END IF;

        payload := concat(
            '{"x":', pg_current_xact_id(),
            pgwitness.connection_facts(),
            ',"u":', to_json(session_user::text),
            CASE WHEN current_setting('role') <> 'none' THEN ',"r":' || to_json(current_setting('role')) END,
            CASE WHEN current_setting('application_name') <> '' THEN ',"a":' || to_json(current_setting('application_name')) END,
            CASE WHEN depth > 0 THEN ',"t":' || depth END,
            claims, presets, person, query, more, '}');
        body := convert_to(payload, 'UTF8');
        RETURN kind || substr(sha256(pgwitness.outer_pad() || sha256(pgwitness.inner_pad() || kind || body)), 1, 16) || body;
    EXCEPTION WHEN others THEN
        -- In a database of another encoding, text that UTF-8 has no place for gets here.
        -- Its odd characters are replaced; "err" says so. Without even a payload, the
        -- transaction and the process are said. The changes that follow must not be
        -- taken for those of the context before.
        payload := concat(
            coalesce(left(regexp_replace(payload, '[^ -~]', '?', 'g'), -1), concat('{"x":', pg_current_xact_id(), ',"i":', pg_backend_pid())),
            ',"err":"', SQLSTATE, '"}');
    END;
    BEGIN
        body := convert_to(payload, 'UTF8');
        RETURN kind || substr(sha256(pgwitness.outer_pad() || sha256(pgwitness.inner_pad() || kind || body)), 1, 16) || body;
    EXCEPTION WHEN others THEN
        RETURN NULL; -- no message: the changes count as context_bypassed
    END;
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.message(bytea, integer, text, text) FROM PUBLIC;
