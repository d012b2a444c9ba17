INSERT INTO pgwitness.installed (kind, name, relation) VALUES ('published', {literal}, {literal}::regclass)
    ON CONFLICT (kind, name) DO UPDATE SET relation = excluded.relation, changed_at = now();
ALTER PUBLICATION {publication} ADD TABLE ONLY {table};
