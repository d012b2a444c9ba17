-- An UPDATE that moves a row to another partition fires no AFTER UPDATE trigger.
CREATE TRIGGER {trigger} BEFORE UPDATE ON {table}
    FOR EACH ROW {when}EXECUTE FUNCTION {function}({argument});
