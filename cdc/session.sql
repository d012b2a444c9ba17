-- What a replication connection must find before it starts reading.
SELECT current_database()                                            AS database,
       current_setting('wal_level')                                  AS wal_level,
       (SELECT setting FROM pg_catalog.pg_settings
         WHERE name = 'wal_sender_timeout')                          AS wal_sender_timeout, -- milliseconds
       EXISTS (SELECT FROM pg_catalog.pg_publication
                WHERE pubname = $1)                                  AS published
