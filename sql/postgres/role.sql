-- The role that the sidecar runs as, with the least it needs: it may log in and
-- replicate, and it may read the keys of the stamps, which setup grants it. It
-- needs no right to any table: the write-ahead log holds all rows. Whoever has
-- REPLICATION can read every change of every database of the server, so this
-- role deserves a password of its own and a line of its own in pg_hba.conf.
--
-- Setup and teardown need the owner of the audited tables, or a superuser.
--
-- Run as a superuser, with the name and password of your choice.
CREATE ROLE "{role}" LOGIN REPLICATION PASSWORD '{password}';
