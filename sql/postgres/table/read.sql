-- The sidecar reads the rows once that were there before the log was followed.
-- The right is recorded for teardown.
INSERT INTO pgwitness.installed (kind, name, relation) VALUES ('readable', {literal}, {literal}::regclass) ON CONFLICT DO NOTHING;
GRANT SELECT ON TABLE {table} TO {role};
