-- The role that the running sidecar connects as: it may read the write-ahead
-- log through its slot, and owns nothing. `pgwitness setup` grants the rest.
-- Run by the container of docker-compose.yml when it initialises its data;
-- the password comes from the environment.
\getenv password PGWITNESS_PASSWORD
CREATE ROLE pgwitness LOGIN REPLICATION PASSWORD :'password';
