-- What the sidecar's role may do: read the keys, and what is installed.
GRANT SELECT ON pgwitness.secret, pgwitness.installed TO {role};
DROP POLICY IF EXISTS sidecar ON pgwitness.secret;
CREATE POLICY sidecar ON pgwitness.secret FOR SELECT TO {role} USING (true);
