-- Records something that is not a change of a row: a login, an export, an
-- approval; docs/events.md lists what they should say. The caller's identity is
-- taken as for a stamp; what the arguments say is his claim, and goes before
-- the session variables. on_behalf_of is for whom somebody else acted. With transactional => false it is written at once and
-- survives a rollback. Unlike a stamp it raises when it cannot record, because
-- the caller asked for nothing else.
CREATE OR REPLACE FUNCTION pgwitness.event(
    action        text,
    resource_type text    DEFAULT NULL,
    resource_id   text    DEFAULT NULL,
    details       jsonb   DEFAULT NULL,
    reason_code   text    DEFAULT NULL,
    reason_note   text    DEFAULT NULL,
    transactional boolean DEFAULT true,
    actor_id      text    DEFAULT NULL,
    ip_address    text    DEFAULT NULL,
    user_agent    text    DEFAULT NULL,
    api_key_id    text    DEFAULT NULL,
    on_behalf_of  text    DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
DECLARE
    content bytea;
BEGIN
    IF action IS NULL OR action = '' THEN
        RAISE EXCEPTION 'pgwitness.event: action is missing'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Say what happened: SELECT pgwitness.event(action => ''login_failed'')';
    END IF;
    -- What pgwitness says of itself excuses what is missing, so nobody else may say
    -- it: only who can read the keys, and could forge a stamp anyway.
    IF action IN ('start', 'stop', 'heartbeat', 'gap', 'publication_changed', 'setup', 'guard_changed',
                  'table_followed', 'role_changed', 'audit_tampered', 'alarms_acknowledged')
       AND NOT EXISTS (SELECT FROM pg_class AS c
                        WHERE c.oid = 'pgwitness.secret'::regclass
                          AND (pg_has_role(session_user, c.relowner, 'USAGE') OR
                               EXISTS (SELECT FROM pg_policy AS p
                                        WHERE p.polrelid = c.oid AND (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = session_user) = ANY (p.polroles)))) THEN
        RAISE EXCEPTION 'pgwitness.event: the action % is reserved', action
            USING ERRCODE = 'insufficient_privilege', HINT = 'Choose another word for what happened.';
    END IF;
    content := pgwitness.message('E1', pg_trigger_depth(), NULL, concat(
        ',"e":{"action":', to_json(action),
        ',"resource_type":' || to_json(resource_type),
        ',"resource_id":' || to_json(resource_id),
        ',"details":' || details::text,
        ',"reason_code":' || to_json(reason_code),
        ',"reason_note":' || to_json(reason_note),
        ',"actor_id":' || to_json(left(actor_id, 8192)),
        ',"ip_address":' || to_json(left(ip_address, 8192)),
        ',"user_agent":' || to_json(left(user_agent, 8192)),
        ',"api_key_id":' || to_json(left(api_key_id, 8192)),
        ',"on_behalf_of":' || to_json(left(on_behalf_of, 8192)),
        '},"at":', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint));
    IF content IS NULL THEN
        RAISE EXCEPTION 'pgwitness.event: cannot be recorded'
            USING HINT = 'Run: pgwitness check';
    END IF;
    PERFORM pg_logical_emit_message(coalesce(transactional, true), 'pgwitness', content);
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.event(text, text, text, jsonb, text, text, boolean, text, text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgwitness.event(text, text, text, jsonb, text, text, boolean, text, text, text, text, text) TO PUBLIC;
