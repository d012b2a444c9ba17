-- The keys of this database, for the sidecar.
SELECT key, stream_secret FROM pgwitness.secret
