-- Reads the first change of slot $1 and leaves it there: fails where the log
-- cannot be decoded. $2 is the publication, quoted as a name.
SELECT count(*)
  FROM pg_catalog.pg_logical_slot_peek_binary_changes($1, NULL, 1,
         'proto_version', '1', 'publication_names', $2, 'messages', 'true')
