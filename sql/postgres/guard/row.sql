CREATE TRIGGER {trigger} AFTER {operations} ON {table}
    FOR EACH ROW {when}EXECUTE FUNCTION {function}({argument});
