-- The schema of a table that the sidecar reads; recorded for teardown.
INSERT INTO pgwitness.installed (kind, name) VALUES ('reachable', {schema_literal}) ON CONFLICT DO NOTHING;
GRANT USAGE ON SCHEMA {schema} TO {role};
