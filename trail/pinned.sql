-- The settings under which the log is rendered, for this transaction only.
SELECT set_config(name, value, true)
  FROM (VALUES ('DateStyle', 'ISO, MDY'),
               ('IntervalStyle', 'postgres'),
               ('TimeZone', 'UTC'),
               ('extra_float_digits', '3'),
               ('bytea_output', 'hex'),
               ('client_encoding', 'UTF8'),
               ('lc_monetary', 'C'),
               ('search_path', ''),
               ('quote_all_identifiers', 'off'),
               ('standard_conforming_strings', 'on')) AS pinned (name, value)
