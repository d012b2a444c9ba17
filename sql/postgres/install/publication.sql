-- Never FOR ALL TABLES: a table without a replica identity would then refuse
-- the application's UPDATE.
INSERT INTO pgwitness.installed (kind, name) VALUES ('publication', {publication_literal}) ON CONFLICT DO NOTHING;
CREATE PUBLICATION {publication} WITH ({options});
