-- Whether the keys are there. Only for a role that may read them.
SELECT count(*)::int AS rows FROM pgwitness.secret
