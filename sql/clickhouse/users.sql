-- Who may do what with the trail. Nobody here may alter, delete, update,
-- truncate or drop anything: the trail is append-only by grants. The database
-- name is replaced by the configured one. Users are made by setup out of the
-- DSNs of the configuration and are given one of these roles; the embedded
-- engine gets the same grants through its users file.

-- The sidecar: it appends, and reads no more than it needs to find the end of
-- its chain. Whoever produces entries cannot read them.
CREATE ROLE IF NOT EXISTS pgwitness_sink;
GRANT INSERT ON pgwitness.audit_logs TO pgwitness_sink;
GRANT INSERT ON pgwitness.genesis TO pgwitness_sink;
GRANT INSERT ON pgwitness.slot_positions TO pgwitness_sink;
GRANT INSERT ON pgwitness.stream_state TO pgwitness_sink;
GRANT INSERT ON pgwitness.baselines TO pgwitness_sink;
GRANT INSERT ON pgwitness.subjects TO pgwitness_sink;
GRANT INSERT ON pgwitness.openings TO pgwitness_sink;
GRANT SELECT(stream, sequence, timestamp, operation, commit_lsn, ordinal, seal) ON pgwitness.audit_logs TO pgwitness_sink;
GRANT SELECT ON pgwitness.genesis TO pgwitness_sink;
GRANT SELECT ON pgwitness.slot_positions TO pgwitness_sink;
GRANT SELECT ON pgwitness.stream_state TO pgwitness_sink;
GRANT SELECT ON pgwitness.baselines TO pgwitness_sink;
-- The keys of data subjects, to make the same tokens again; not what the tokens
-- stand for.
GRANT SELECT(stream, subject, subject_key) ON pgwitness.subjects TO pgwitness_sink;
-- To find inserts of an earlier process that are still running. Without SHOW
-- PROCESSES a user sees his own queries only.
GRANT SELECT(query_id, user, query, elapsed) ON system.processes TO pgwitness_sink;

-- The analyst, the auditor, and the verbs trail, verify and status.
CREATE ROLE IF NOT EXISTS pgwitness_reader;
GRANT SELECT ON pgwitness.* TO pgwitness_reader;

-- Who may see personal values: the same, and the vault. To everybody else
-- openings is an empty table, so that the view audit_trail shows him tokens.
REVOKE SELECT ON pgwitness.subjects FROM pgwitness_reader;
CREATE ROLE IF NOT EXISTS pgwitness_vault;
GRANT SELECT ON pgwitness.* TO pgwitness_vault;
CREATE ROW POLICY IF NOT EXISTS pgwitness_vault_open ON pgwitness.openings FOR SELECT USING 1 TO pgwitness_vault;
CREATE ROW POLICY IF NOT EXISTS pgwitness_vault_closed ON pgwitness.openings FOR SELECT USING 0 TO ALL EXCEPT pgwitness_vault;
