-- How many sidecars wait to take over stream $1.
SELECT count(*) FROM pg_catalog.pg_stat_activity AS a
 WHERE a.datname = current_database() AND a.application_name = 'pgwitness standby ' || $1
