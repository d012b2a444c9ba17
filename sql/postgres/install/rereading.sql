-- Which tables were written anew without a row in the log, so that the sidecar
-- reads them again.
GRANT SELECT ON pgwitness.audited TO {role};
