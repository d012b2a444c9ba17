-- Settings of a session that fetches a backlog, where the server knows them:
-- nothing ends a statement that takes its time, results of up to 64 MB stay in
-- memory, and a statement whose client is gone ends within seconds.
SELECT count(set_config(name, CASE name WHEN 'work_mem' THEN '64MB'
                                        WHEN 'client_connection_check_interval' THEN '5s'
                                        ELSE '0' END, false)) AS settings
  FROM pg_catalog.pg_settings
 WHERE name IN ('statement_timeout', 'transaction_timeout', 'lock_timeout', 'work_mem',
                'client_connection_check_interval')
