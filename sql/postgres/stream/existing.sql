-- Which of the tables $1, an array of OIDs, still exist.
SELECT c.oid::bigint FROM pg_catalog.pg_class AS c WHERE c.oid = ANY($1::bigint[]::oid[])
