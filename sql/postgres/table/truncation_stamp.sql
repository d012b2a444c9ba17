CREATE OR REPLACE TRIGGER pgwitness_stamp_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION pgwitness.stamp();
ALTER TABLE ONLY {table} ENABLE ALWAYS TRIGGER pgwitness_stamp_truncate;
