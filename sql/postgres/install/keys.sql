-- The keys are made inside the server, of gen_random_uuid(), which takes 122
-- bits of the operating system's strong randomness each time: so they travel
-- over no connection and stand in no log of statements.
INSERT INTO pgwitness.secret (key, ipad, opad, stream_secret)
SELECT made.key,
       (SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(made.padded, i) # 54), '' ORDER BY i) FROM generate_series(0, 63) AS i),
       (SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(made.padded, i) # 92), '' ORDER BY i) FROM generate_series(0, 63) AS i),
       made.stream_secret
  FROM (SELECT strong.key, strong.key || decode(repeat('00', 32), 'hex') AS padded, strong.stream_secret
          FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) ||
                              uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS key,
                       sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) ||
                              uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS stream_secret
                OFFSET 0) AS strong
        OFFSET 0) AS made
    ON CONFLICT DO NOTHING;
