package cdc

import (
	"testing"

	"github.com/pgwitness/pgwitness/test/harness"
)

// Rows that the statement did not name: those of a foreign key that cascades,
// in every way that it can, and those that triggers write.
func caseCascade(t *testing.T, pg *harness.PG) {
	pg.Exec(`CREATE TABLE house (id int PRIMARY KEY);
		CREATE TABLE room (id int PRIMARY KEY, house int DEFAULT 0 REFERENCES house ON DELETE CASCADE ON UPDATE CASCADE);
		CREATE TABLE guest (id int PRIMARY KEY, house int REFERENCES house ON DELETE SET NULL ON UPDATE SET DEFAULT);
		CREATE TABLE diary (line text);
		CREATE FUNCTION diary() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO diary VALUES (TG_OP || ' ' || OLD.id); RETURN NULL; END $$;
		CREATE TRIGGER diary AFTER DELETE ON room FOR EACH ROW EXECUTE FUNCTION diary();
		INSERT INTO house VALUES (1), (2); INSERT INTO room VALUES (10, 1), (20, 2); INSERT INTO guest VALUES (100, 1)`)
	tp := newTape(t, pg, "TABLE house, room, guest, diary").start()
	pg.Exec("UPDATE house SET id = 3 WHERE id = 2; DELETE FROM house WHERE id = 1")
	tp.want("update house key[2] [3]", "update room [20 3]",
		"delete house key[1]", "delete room key[10 -]", "update guest [100 NULL]", "insert diary [DELETE 10]")
}

// However a row is written: by a query, by parts of a WITH, through a rule, a
// view or a function.
func caseEveryWay(t *testing.T, pg *harness.PG) {
	pg.Exec(`CREATE TABLE way (id int PRIMARY KEY, v text); CREATE VIEW simple_way AS SELECT * FROM way WHERE id > 0;
		CREATE VIEW way_view AS SELECT id, v FROM way;
		CREATE FUNCTION way_view() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO way VALUES (NEW.id, 'instead'); RETURN NEW; END $$;
		CREATE TRIGGER way_view INSTEAD OF INSERT ON way_view FOR EACH ROW EXECUTE FUNCTION way_view();
		CREATE TABLE ruled (id int PRIMARY KEY); CREATE RULE elsewhere AS ON INSERT TO ruled DO ALSO INSERT INTO way VALUES (NEW.id, 'rule');
		CREATE FUNCTION write_way(int) RETURNS int LANGUAGE sql AS $$ INSERT INTO way VALUES ($1, 'function') RETURNING id $$`)
	tp := newTape(t, pg, "TABLE way, ruled").start()
	pg.Exec("INSERT INTO way SELECT i, 'query' FROM generate_series(1, 2) i")
	pg.Exec("WITH a AS (INSERT INTO way VALUES (3, 'with') RETURNING id), b AS (UPDATE way SET v = 'b' WHERE id = 1 RETURNING id) SELECT * FROM a, b")
	pg.Exec("INSERT INTO simple_way VALUES (4, 'view')")
	pg.Exec("INSERT INTO way_view VALUES (5, 'unused')")
	pg.Exec("INSERT INTO ruled VALUES (6)")
	pg.Exec("SELECT write_way(7)")
	pg.Exec("DO $$ BEGIN DELETE FROM way WHERE id = 7; END $$")
	tp.want("insert way [1 query]", "insert way [2 query]", "insert way [3 with]", "update way [1 b]", "insert way [4 view]", "insert way [5 instead]",
		"insert ruled [6]", "insert way [6 rule]", "insert way [7 function]", "delete way key[7 -]")
}

// MERGE writes all three kinds of changes by one statement.
func caseMerge(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE merged (id int PRIMARY KEY, n int); INSERT INTO merged VALUES (1, 1), (2, 2)")
	tp := newTape(t, pg, "TABLE merged").start()
	pg.Exec(`MERGE INTO merged USING (VALUES (1, 10), (2, NULL), (3, 30)) AS s (id, n) ON merged.id = s.id
		WHEN MATCHED AND s.n IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET n = s.n WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.n)`)
	tp.want("update merged [1 10]", "delete merged key[2 -]", "insert merged [3 30]")
}

// A partition is attached and detached under traffic: its rows are its own
// before and behind it, and of the partitioned table in between.
func casePartitionDetached(t *testing.T, pg *harness.PG) {
	pg.Exec(partitions + "; CREATE TABLE part_loose (LIKE part INCLUDING ALL)")
	tp := newTape(t, pg, "TABLE part, part_loose").start()
	pg.Exec(`INSERT INTO part_loose VALUES (1, 5000, 'alone'); ALTER TABLE part ATTACH PARTITION part_loose FOR VALUES FROM (5000) TO (6000);
		INSERT INTO part VALUES (2, 5001, 'attached'); ALTER TABLE part DETACH PARTITION part_loose; INSERT INTO part_loose VALUES (3, 5002, 'detached')`)
	txs := tp.want("insert part_loose [1 5000 alone]", "insert part_loose [2 5001 attached]", "insert part_loose [3 5002 detached]")
	roots := ""
	for _, tx := range txs {
		for _, c := range tx.Changes {
			roots += c.Relation.RootName + ","
		}
	}
	// The catalog is asked when the relation is sent, which may be later.
	if roots != ",,," && roots != ",part,," && roots != ",part,part," {
		t.Errorf("roots %q", roots)
	}
	pg.Exec("DROP TABLE part, part_loose CASCADE")
}

// What never is in the log does not come, and does not disturb what does.
func caseNotDecoded(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE logged (id serial PRIMARY KEY); CREATE UNLOGGED TABLE unlogged (id int); CREATE SEQUENCE counter")
	tp := newTape(t, pg, "TABLE logged").start()
	pg.Exec(`BEGIN; CREATE TEMPORARY TABLE mine (id int); INSERT INTO mine VALUES (1); INSERT INTO unlogged VALUES (1); SELECT nextval('counter'), setval('counter', 100);
		SELECT lo_create(4711), lo_put(4711, 0, 'large'); INSERT INTO logged DEFAULT VALUES; SELECT lo_unlink(4711); DROP TABLE mine; COMMIT`)
	tp.want("insert logged [1]")
}

// Triggers that are off, and rows that are not tables' yet: the log has them.
func caseTriggersOff(t *testing.T, pg *harness.PG) {
	pg.Exec(`CREATE TABLE untriggered (id int PRIMARY KEY);
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON untriggered FOR EACH ROW EXECUTE FUNCTION refuse()`)
	tp := newTape(t, pg, "TABLE untriggered").start()
	pg.Exec(`INSERT INTO untriggered VALUES (1); ALTER TABLE untriggered DISABLE TRIGGER ALL; INSERT INTO untriggered VALUES (2);
		ALTER TABLE untriggered ENABLE TRIGGER ALL; INSERT INTO untriggered VALUES (3); SET session_replication_role = replica; INSERT INTO untriggered VALUES (4)`)
	pg.Exec("RESET session_replication_role")
	tp.want("insert untriggered [2]", "insert untriggered [4]")
}
