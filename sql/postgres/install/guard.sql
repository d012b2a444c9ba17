-- The trigger function of the guards: lets a row pass whose client has said
-- what the guard requires, and refuses the statement otherwise. The condition
-- of the guard is the trigger's WHEN clause, so that rows which it does not
-- concern do not get here. The argument is a JSON object:
--
--   guard        its name
--   action       what the statement would have been in the trail
--   of           schema and name of the table that the configuration names
--   key          columns of the resource id; absent: the primary key
--   show         columns that a refused attempt tells
--   actor        true: somebody must be named
--   actor_role   his role must be one of these
--   reason_code  one of these must be given; ["*"]: any
--   reason_note  the least number of characters
--   mfa_within   seconds since his second factor, at most
--
-- A refused attempt is written into the log before the statement fails, as a
-- message that is not part of the transaction: a rollback does not take it
-- away. Where it cannot be written the statement is refused all the same.
--
-- It runs as its owner, who alone may read the key, so it calls nothing that a
-- user of the database could have made: values become text by the output
-- function of their type (format), never by a cast.
CREATE OR REPLACE FUNCTION pgwitness.guard() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $pgwitness$
DECLARE
    asked    jsonb  := TG_ARGV[0]::jsonb;
    lacking  text[] := '{}'; -- requirements that are not met
    wanted   text[] := '{}'; -- the same, for people
    hints    text[] := '{}';
    said     text;
    mfa      timestamptz;
    affected record;
    part     text;
    parts    text[];
    resource text;
    shown    text;
BEGIN
    IF asked ? 'actor' AND pgwitness.claim('actor_id') IS NULL THEN
        lacking := lacking || 'actor_id'::text;
        wanted  := wanted || 'a named actor'::text;
        hints   := hints || 'audit.actor_id to who does it'::text;
    END IF;
    IF asked ? 'actor_role' AND NOT coalesce(asked -> 'actor_role' ? pgwitness.claim('actor_role'), false) THEN
        part    := array_to_string(ARRAY(SELECT jsonb_array_elements_text(asked -> 'actor_role')), ', ');
        lacking := lacking || 'actor_role'::text;
        wanted  := wanted || format('the role %s', part);
        hints   := hints || format('audit.actor_role to his role, one of %s', part);
    END IF;
    IF asked ? 'reason_code' THEN
        said := pgwitness.claim('reason_code');
        IF said IS NULL OR NOT (asked -> 'reason_code' ? said OR asked -> 'reason_code' ? '*') THEN
            part    := nullif(array_to_string(ARRAY(SELECT jsonb_array_elements_text(asked -> 'reason_code')), ', '), '*');
            lacking := lacking || 'reason_code'::text;
            wanted  := wanted || concat('a reason code', ' out of ' || part);
            hints   := hints || concat('audit.reason_code to the reason', ', one of ' || part);
        END IF;
    END IF;
    IF asked ? 'reason_note' AND coalesce(length(btrim(pgwitness.claim('reason_note'), E' \t\r\n')), 0) < (asked ->> 'reason_note')::integer THEN
        lacking := lacking || 'reason_note'::text;
        wanted  := wanted || format('a reason note of at least %s characters', asked ->> 'reason_note');
        hints   := hints || 'audit.reason_note to an explanation'::text;
    END IF;
    IF asked ? 'mfa_within' THEN
        said := pgwitness.claim('mfa_at');
        BEGIN
            mfa := CASE
                WHEN said ~ '^[0-9]{1,12}([.][0-9]+)?$' THEN to_timestamp(said::double precision)
                WHEN said ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+ ?(Z|[+-][0-9:]+)$' THEN said::timestamptz
            END;
        EXCEPTION WHEN others THEN
            mfa := NULL; -- no time at all
        END;
        -- Clocks differ, so a little of the future is believed, and no more.
        IF mfa IS NULL OR mfa < clock_timestamp() - make_interval(secs => (asked ->> 'mfa_within')::double precision)
                       OR mfa > clock_timestamp() + interval '1 minute' THEN
            lacking := lacking || 'mfa_at'::text;
            wanted  := wanted || format('a second factor within the last %s', make_interval(secs => (asked ->> 'mfa_within')::double precision));
            hints   := hints || 'audit.mfa_at to when the second factor was checked'::text;
        END IF;
    END IF;
    IF cardinality(lacking) = 0 THEN
        RETURN NEW;
    END IF;

    -- Nothing below returns, so these settings end with the statement. They make
    -- values look as they do in the trail.
    PERFORM set_config('DateStyle', 'ISO', true), set_config('IntervalStyle', 'postgres', true), set_config('TimeZone', 'UTC', true),
            set_config('extra_float_digits', '3', true), set_config('bytea_output', 'hex', true);
    IF TG_OP <> 'TRUNCATE' THEN
        BEGIN
            IF TG_OP = 'DELETE' THEN
                affected := OLD;
            ELSE
                affected := NEW;
            END IF;
            IF asked ? 'key' THEN
                parts := ARRAY(SELECT jsonb_array_elements_text(asked -> 'key'));
            ELSE
                parts := ARRAY(SELECT a.attname::text
                                 FROM pg_index AS i
                                CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
                                 JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                                WHERE i.indrelid = TG_RELID AND i.indisprimary AND k.place <= i.indnkeyatts
                                ORDER BY k.place);
            END IF;
            FOR n IN 1 .. cardinality(parts) LOOP
                EXECUTE format('SELECT CASE WHEN ($1).%1$I IS NOT NULL THEN format(''%%s'', ($1).%1$I) END', parts[n]) INTO said USING affected;
                IF cardinality(parts) > 1 THEN
                    said := replace(replace(said, '%', '%25'), '/', '%2F');
                END IF;
                resource := CASE WHEN n = 1 THEN said ELSE resource || '/' || said END;
            END LOOP;
            FOREACH part IN ARRAY ARRAY(SELECT jsonb_array_elements_text(asked -> 'show')) LOOP
                EXECUTE format('SELECT CASE WHEN ($1).%1$I IS NOT NULL THEN format(''%%s'', ($1).%1$I) END', part) INTO said USING affected;
                shown := concat(shown || ',', to_json(part), ':', coalesce(to_json(left(said, 8192))::text, 'null'));
            END LOOP;
        EXCEPTION WHEN others THEN
            NULL; -- a column is gone: the attempt is recorded without
        END;
    END IF;
    PERFORM pg_logical_emit_message(false, 'pgwitness', pgwitness.message('R1', pg_trigger_depth() - 1, NULL, concat(
        ',"e":{"action":', to_json(asked ->> 'action'),
        ',"resource_id":' || to_json(left(resource, 8192)),
        ',"of":', asked -> 'of',
        ',"schema":', to_json(TG_TABLE_SCHEMA), ',"table":', to_json(TG_TABLE_NAME),
        ',"details":', json_build_object('guard', asked ->> 'guard', 'operation', lower(TG_OP), 'missing', to_json(lacking), 'row', concat('{', shown, '}')::json),
        '},"at":', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)));

    RAISE EXCEPTION USING
        ERRCODE = CASE WHEN lacking && '{actor_id,actor_role}' THEN 'PW003' WHEN lacking && '{mfa_at}' THEN 'PW002' ELSE 'PW001' END,
        MESSAGE = format('guard "%s": %s on %s.%s needs %s', asked ->> 'guard', lower(TG_OP), TG_TABLE_SCHEMA, TG_TABLE_NAME, array_to_string(wanted, ', ')),
        DETAIL = 'The attempt is recorded in the audit trail.',
        HINT = format('Set in the same transaction: %s. For example: SELECT set_config(''audit.%s'', ''...'', true)', array_to_string(hints, '; '), lacking[1]),
        CONSTRAINT = asked ->> 'guard', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END
$pgwitness$;
REVOKE ALL ON FUNCTION pgwitness.guard() FROM PUBLIC;
