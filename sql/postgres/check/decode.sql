-- Decodes the first change that the slot $1 has still to give out, for the
-- publication $2, and puts it back: whether decoding works at all. A change
-- from before the publication was made cannot be decoded before PostgreSQL 18.
SELECT count(*)::int AS messages
  FROM pg_logical_slot_peek_binary_changes($1, NULL, 1, 'proto_version', '1', 'publication_names', $2)
