-- The trigger function: writes a stamp before the first statement of a
-- transaction that may change audited rows, and before each one whose context
-- differs from what was stamped last. It runs as its owner, because only he may
-- read the key, and before every such statement of every client, so:
--
--   * It is quick when nothing changed: one expression. (A WHEN clause instead
--     is parsed and planned anew for each statement, and costs ten times more;
--     a SET search_path costs half as much again.)
--   * Every name in it is qualified, and it uses functions instead of
--     operators, because the search path is the client's: a client could have
--     made an operator || of its own.
--   * It must not raise. pgwitness.message() catches what can go wrong there.
--
-- What was stamped last is remembered in the transaction-local setting
-- pgwitness.stamped, which a rollback to a savepoint undoes together with the
-- stamp. It begins with the transaction id, so that a value that leaked from
-- another transaction never counts.
--
-- BUG(setup): a client that computes and sets pgwitness.stamped itself can keep
-- a stamp from being written. Its changes are then context_bypassed or, in a
-- transaction that was stamped already, count for the context stamped before.
-- BUG(setup): after a row trigger BEFORE wrote to an audited table, the further
-- rows of the outer statement still bear the inner trigger depth.
CREATE OR REPLACE FUNCTION pgwitness.stamp() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
AS $pgwitness$
DECLARE
    state pg_catalog.text;
    lsn   pg_catalog.pg_lsn;
BEGIN
    state := pg_catalog.concat_ws(E'\x1f',
        pg_catalog.pg_current_xact_id(),
        pg_catalog.pg_trigger_depth(),
        pg_catalog.current_setting('session_authorization', true),
        pg_catalog.current_setting('role', true),
        pg_catalog.current_setting('application_name', true),
        -- Of a query, what comes from its first comment on: statements that differ
        -- only before the comment that a framework appends share one stamp.
        CASE WHEN pg_catalog.textlike(pg_catalog.current_query(), '%/*%') THEN
            pg_catalog.hashtextextended(pg_catalog.substr(pg_catalog.current_query(),
                pg_catalog.strpos(pg_catalog.current_query(), '/*')), 0)
        END,
        E'\x1e',
        pg_catalog.current_setting('audit.actor_id', true),
        pg_catalog.current_setting('audit.actor_email', true),
        pg_catalog.current_setting('audit.actor_role', true),
        pg_catalog.current_setting('audit.actor_type', true),
        pg_catalog.current_setting('audit.reason_code', true),
        pg_catalog.current_setting('audit.reason_note', true),
        pg_catalog.current_setting('audit.ip_address', true),
        pg_catalog.current_setting('audit.user_agent', true),
        pg_catalog.current_setting('audit.source', true),
        pg_catalog.current_setting('audit.request_id', true),
        pg_catalog.current_setting('audit.api_key_id', true),
        pg_catalog.current_setting('audit.mfa_at', true),
        pg_catalog.current_setting('audit.context', true){preset_variables});
    IF pg_catalog.texteq(state, pg_catalog.current_setting('pgwitness.stamped', true)) THEN
        RETURN NULL;
    END IF;
    lsn := pg_catalog.pg_logical_emit_message(true, 'pgwitness',
        pgwitness.message('S1', pg_catalog.int4mi(pg_catalog.pg_trigger_depth(), 1), state, NULL));
    state := pg_catalog.set_config('pgwitness.stamped', state, true);
    RETURN NULL;
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.stamp() FROM PUBLIC;
