ALTER PUBLICATION {publication} DROP TABLE {table};
