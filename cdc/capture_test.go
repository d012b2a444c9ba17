package cdc

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// The cases of docs/capture.md, on every PostgreSQL that is installed.
func TestCapture(t *testing.T) { capture(t) }

// The same by the other lane: newTape gives them a reader that counts as far
// behind as soon as there is anything to read.
func TestCaptureBacklog(t *testing.T) { capture(t) }

func capture(t *testing.T) {
	cases := []struct {
		name string
		run  func(*testing.T, *harness.PG)
		from int // the first major version that has what is tested
	}{
		{"case01_copy", caseCopy, 14},
		{"case02_same_row_twice", caseSameRowTwice, 14},
		{"case03_savepoint", caseSavepoint, 14},
		{"case04_aborted", caseAborted, 14},
		{"case05_toast", caseToast, 14},
		{"case06_replica_identity", caseIdentity, 14},
		{"case08_truncate", caseTruncate, 14},
		{"case09_partition_leaf", casePartitionLeaf, 14},
		{"case09_partition_root", casePartitionRoot, 14},
		{"case09_partition_detached", casePartitionDetached, 14},
		{"case10_cascades_and_triggers", caseCascade, 14},
		{"case11_upsert", caseUpsert, 14},
		{"case12_every_way", caseEveryWay, 14},
		{"case12_merge", caseMerge, 15},
		{"case13_ddl", caseDDL, 14},
		{"case13_dropped_table", caseDroppedTable, 14},
		{"case15_types", caseTypes, 14},
		{"case16_two_phase", caseTwoPhase, 14},
		{"case16_interleaved", caseInterleaved, 14},
		{"case20_publication_dropped", casePublicationDropped, 14},
		{"case21_origin_and_replica_role", caseOrigin, 14},
		{"case21_triggers_off", caseTriggersOff, 14},
		{"case20_column_list_and_row_filter", caseColumnList, 15},
		{"case22_not_decoded", caseNotDecoded, 14},
		{"message_position", caseMessagePosition, 14},
		{"empty_transactions", caseEmpty, 14},
	}
	for _, v := range harness.PostgresVersions(t) {
		t.Run(v.String(), func(t *testing.T) {
			pg := harness.PostgresServer(t, v.Major, nil)
			for _, c := range cases {
				if v.Major >= c.from {
					t.Run(c.name, func(t *testing.T) { c.run(t, pg) })
				}
			}
		})
	}
}

func caseCopy(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE copied (id int PRIMARY KEY, label text)")
	tp := newTape(t, pg, "TABLE copied").start()
	conn := pg.Connect()
	rows := pgx.CopyFromSlice(500, func(i int) ([]any, error) { return []any{i, "row"}, nil })
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"id", "label"}, rows); err != nil {
		t.Fatal(err)
	}
	txs := tp.rewind()
	if len(txs) != 1 || len(txs[0].Changes) != 500 {
		t.Fatalf("got %d transactions, want one of 500 changes", len(txs))
	}
	positions := map[audit.LSN]bool{}
	ids := map[string]bool{}
	for _, c := range txs[0].Changes {
		positions[c.LSN] = true
		ids[string(c.New[0].Data)] = true
	}
	if len(ids) != 500 || len(positions) > 100 {
		t.Errorf("got %d rows at %d positions, want 500 rows that share few positions", len(ids), len(positions))
	}
}

func caseSameRowTwice(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE twice (id int PRIMARY KEY, n int)")
	tp := newTape(t, pg, "TABLE twice").start()
	pg.Exec("BEGIN; INSERT INTO twice VALUES (1, 1); UPDATE twice SET n = 2; UPDATE twice SET n = 3; DELETE FROM twice; INSERT INTO twice VALUES (1, 4); COMMIT")
	txs := tp.want("insert twice [1 1]", "update twice [1 2]", "update twice [1 3]", "delete twice key[1 -]", "insert twice [1 4]")
	if len(txs) == 1 && (txs[0].XID == 0 || txs[0].CommitLSN == 0 || txs[0].EndLSN <= txs[0].CommitLSN) {
		t.Errorf("transaction %d at %s..%s", txs[0].XID, txs[0].CommitLSN, txs[0].EndLSN)
	}
	now := pg.Value("SELECT extract(epoch FROM clock_timestamp())::bigint")
	if then := txs[0].CommitTime / 1_000_000; !strings.HasPrefix(now, decimal(then)[:6]) {
		t.Errorf("commit time is %d s since 1970, and now it is %s", then, now)
	}
}

func caseSavepoint(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE saved (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE saved").start()
	pg.Exec(`BEGIN; INSERT INTO saved VALUES (1);
		SAVEPOINT a; SELECT pg_logical_emit_message(true, 'x', 'gone'); INSERT INTO saved VALUES (2); ROLLBACK TO a;
		SAVEPOINT b; SELECT pg_logical_emit_message(true, 'x', 'stays'); INSERT INTO saved VALUES (3); RELEASE b;
		INSERT INTO saved VALUES (4); COMMIT`)
	tp.want("insert saved [1]", `message x "stays" true`, "insert saved [3]", "insert saved [4]")
}

func caseAborted(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE aborted (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE aborted").start()
	pg.Exec(`BEGIN; INSERT INTO aborted VALUES (1); SELECT pg_logical_emit_message(true, 'x', 'gone');
		SELECT pg_logical_emit_message(false, 'x', 'refused'); ROLLBACK; INSERT INTO aborted VALUES (2)`)
	txs := tp.want(`message x "refused" false`, "insert aborted [2]")
	if tx := txs[0]; tx.XID != 0 || tx.CommitTime != 0 || tx.EndLSN != 0 || tx.CommitLSN == 0 || !tx.First || !tx.Last {
		t.Errorf("a message outside of transactions came as %+v", tx)
	}
}

func caseToast(t *testing.T, pg *harness.PG) {
	pg.Exec(`CREATE TABLE toast_default (id int PRIMARY KEY, n int, big text); ALTER TABLE toast_default ALTER big SET STORAGE EXTERNAL;
		CREATE TABLE toast_full (LIKE toast_default INCLUDING ALL); ALTER TABLE toast_full REPLICA IDENTITY FULL;
		CREATE TABLE toast_key (id text PRIMARY KEY, n int); ALTER TABLE toast_key ALTER id SET STORAGE EXTERNAL`)
	tp := newTape(t, pg, "TABLE toast_default, toast_full, toast_key").start()
	pg.Exec(`INSERT INTO toast_default VALUES (1, 1, repeat('a', 9000)); INSERT INTO toast_full TABLE toast_default;
		UPDATE toast_default SET n = 2; UPDATE toast_full SET n = 2; UPDATE toast_full SET big = repeat('b', 9001)`)
	tp.want("insert toast_default [1 1 aaa…9000]", "insert toast_full [1 1 aaa…9000]",
		"update toast_default [1 2 ~]",
		"update toast_full old[1 1 aaa…9000] [1 2 ~]",
		"update toast_full old[1 2 aaa…9000] [1 2 bbb…9001]")
	pg.Exec("ALTER TABLE toast_key ALTER n SET NOT NULL; INSERT INTO toast_key VALUES (repeat('k', 2600), 1); UPDATE toast_key SET n = 2")
	tp.want("insert toast_key [kkk…2600 1]", "update toast_key key[kkk…2600 -] [~ 2]")
}

func caseIdentity(t *testing.T, pg *harness.PG) {
	pg.Exec(`CREATE TABLE id_default (id int PRIMARY KEY, n int NOT NULL, v text);
		CREATE TABLE id_index (LIKE id_default INCLUDING ALL); CREATE UNIQUE INDEX by_n ON id_index (n); ALTER TABLE id_index REPLICA IDENTITY USING INDEX by_n;
		CREATE TABLE id_full (LIKE id_default INCLUDING ALL); ALTER TABLE id_full REPLICA IDENTITY FULL;
		CREATE TABLE id_none (LIKE id_default INCLUDING ALL); ALTER TABLE id_none REPLICA IDENTITY NOTHING`)
	tp := newTape(t, pg, "TABLE id_default, id_index, id_full, id_none").start()
	for _, table := range []string{"id_default", "id_index", "id_full"} {
		pg.Exec(strings.ReplaceAll("INSERT INTO $ VALUES (1, 1, NULL); UPDATE $ SET v = 'a'; UPDATE $ SET id = 2; UPDATE $ SET n = 3; DELETE FROM $", "$", table))
	}
	pg.Exec("INSERT INTO id_none VALUES (1, 1, 'x')")
	txs := tp.want(
		"insert id_default [1 1 NULL]", "update id_default [1 1 a]", "update id_default key[1 - -] [2 1 a]", "update id_default [2 3 a]", "delete id_default key[2 - -]",
		"insert id_index [1 1 NULL]", "update id_index [1 1 a]", "update id_index [2 1 a]", "update id_index key[- 1 -] [2 3 a]", "delete id_index key[- 3 -]",
		"insert id_full [1 1 NULL]", "update id_full old[1 1 NULL] [1 1 a]", "update id_full old[1 1 a] [2 1 a]", "update id_full old[2 1 a] [2 3 a]", "delete id_full old[2 3 a]",
		"insert id_none [1 1 x]")
	for _, tx := range txs {
		for _, c := range tx.Changes { // the primary key, whatever the identity
			if !slices.Equal(c.Relation.Key, []int{0}) {
				t.Errorf("%s: key is columns %v, want the first", short(c), c.Relation.Key)
			}
		}
	}
}

func caseTruncate(t *testing.T, pg *harness.PG) {
	pg.Exec(`CREATE TABLE tr_a (id serial PRIMARY KEY); CREATE TABLE tr_b (id int PRIMARY KEY, a int REFERENCES tr_a); CREATE TABLE tr_c (id int PRIMARY KEY);
		CREATE TABLE tr_unpublished (id int PRIMARY KEY, a int REFERENCES tr_a)`)
	tp := newTape(t, pg, "TABLE tr_a, tr_b, tr_c").start()
	pg.Exec("TRUNCATE tr_c; TRUNCATE tr_a, tr_c RESTART IDENTITY CASCADE; INSERT INTO tr_a VALUES (1)")
	txs := tp.rewind()
	var got []string
	for _, tx := range txs {
		for _, c := range tx.Changes {
			got = append(got, short(c))
		}
	}
	want := []string{"truncate tr_c", "truncate tr_a cascade restart", "truncate tr_b cascade restart", "truncate tr_c cascade restart", "insert tr_a [1]"}
	if len(got) == len(want) {
		slices.Sort(got[1:4]) // the order of the tables in one statement is the server's
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

const partitions = `DROP TABLE IF EXISTS part, part_old, part_new CASCADE;
	CREATE TABLE part (id int, y int, v text, PRIMARY KEY (y, id)) PARTITION BY RANGE (y);
	CREATE TABLE part_old PARTITION OF part FOR VALUES FROM (0) TO (2000);
	CREATE TABLE part_new (v text, y int NOT NULL, id int NOT NULL);
	ALTER TABLE part ATTACH PARTITION part_new FOR VALUES FROM (2000) TO (3000)`

const partitionTraffic = `INSERT INTO part VALUES (1, 1999, 'a'); INSERT INTO part_old VALUES (2, 1998, 'b'); INSERT INTO part VALUES (3, 2001, 'c');
	UPDATE part SET y = 2002 WHERE id = 1; DELETE FROM part WHERE id = 3;
	CREATE TABLE part_far PARTITION OF part FOR VALUES FROM (3000) TO (4000); INSERT INTO part VALUES (4, 3001, 'd')`

func casePartitionLeaf(t *testing.T, pg *harness.PG) {
	pg.Exec(partitions)
	tp := newTape(t, pg, "TABLE part").start()
	pg.Exec(partitionTraffic)
	txs := tp.want("insert part_old [1 1999 a]", "insert part_old [2 1998 b]", "insert part_new [c 2001 3]",
		"delete part_old key[1 1999 -]", "insert part_new [a 2002 1]", "delete part_new key[- 2001 3]", "insert part_far [4 3001 d]")
	for _, tx := range txs { // the key is (y, id), wherever the leaf has them
		for _, c := range tx.Changes {
			rel := c.Relation
			if rel.Columns[rel.Key[0]].Name != "y" || rel.Columns[rel.Key[1]].Name != "id" || rel.RootSchema != "public" || rel.RootName != "part" {
				t.Errorf("%s: key %v, root %s.%s", rel.Name, rel.Key, rel.RootSchema, rel.RootName)
			}
		}
	}
	pg.Exec("DROP TABLE part CASCADE")
}

func casePartitionRoot(t *testing.T, pg *harness.PG) {
	pg.Exec(partitions)
	tp := newTape(t, pg, "TABLE part WITH (publish_via_partition_root)").start()
	pg.Exec(partitionTraffic)
	txs := tp.want("insert part [1 1999 a]", "insert part [2 1998 b]", "insert part [3 2001 c]",
		"delete part key[1 1999 -]", "insert part [1 2002 a]", "delete part key[3 2001 -]", "insert part [4 3001 d]")
	if rel := txs[0].Changes[0].Relation; rel.RootName != "" || len(rel.Key) != 2 {
		t.Errorf("key %v, root %s", rel.Key, rel.RootName)
	}
	pg.Exec("DROP TABLE part CASCADE")
}

func caseUpsert(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE ups (id int PRIMARY KEY, n int)")
	tp := newTape(t, pg, "TABLE ups").start()
	pg.Exec(`INSERT INTO ups VALUES (1, 1); INSERT INTO ups VALUES (1, 2), (2, 2) ON CONFLICT (id) DO UPDATE SET n = excluded.n;
		WITH gone AS (DELETE FROM ups WHERE id = 1 RETURNING id) INSERT INTO ups SELECT id + 10, 0 FROM gone; UPDATE ups SET n = 5 WHERE false`)
	tp.want("insert ups [1 1]", "update ups [1 2]", "insert ups [2 2]", "delete ups key[1 -]", "insert ups [11 0]")
}

func caseDDL(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE ddl (id int PRIMARY KEY, a text, b text)")
	tp := newTape(t, pg, "TABLE ddl").start()
	pg.Exec(`BEGIN; INSERT INTO ddl VALUES (1, 'a', 'b');
		ALTER TABLE ddl ADD c int DEFAULT 7; INSERT INTO ddl VALUES (2, 'a', 'b', 8);
		ALTER TABLE ddl DROP a; INSERT INTO ddl VALUES (3, 'b', 9);
		ALTER TABLE ddl RENAME b TO beta; ALTER TABLE ddl ALTER c TYPE text USING 'n' || c; INSERT INTO ddl VALUES (4, 'b', 'ten');
		ALTER TABLE ddl RENAME id TO ident; ALTER TABLE ddl RENAME TO ddl_after; INSERT INTO ddl_after VALUES (5, 'b', 'x'); COMMIT;
		UPDATE ddl_after SET beta = 'z' WHERE ident = 3`)
	txs := tp.want("insert ddl [1 a b]", "insert ddl [2 a b 8]", "insert ddl [3 b 9]", "insert ddl [4 b ten]", "insert ddl_after [5 b x]", "update ddl_after [3 z n9]")
	var names []string
	for _, c := range txs[0].Changes {
		var columns []string
		for _, col := range c.Relation.Columns {
			columns = append(columns, col.Name)
		}
		names = append(names, strings.Join(columns, ","))
		if !slices.Equal(c.Relation.Key, []int{0}) {
			t.Errorf("%s: key is columns %v although id was renamed to ident only later", short(c), c.Relation.Key)
		}
	}
	if want := []string{"id,a,b", "id,a,b,c", "id,b,c", "id,beta,c", "ident,beta,c"}; !slices.Equal(names, want) {
		t.Errorf("got columns %q, want %q", names, want)
	}
	pg.Exec("DROP TABLE ddl_after")
}

// The key of a table that is gone by the time its changes are read is the one
// that was known before; here the identity does not tell it.
func caseDroppedTable(t *testing.T, pg *harness.PG) {
	pg.Exec(`CREATE TABLE dropped (id int PRIMARY KEY, v text); ALTER TABLE dropped REPLICA IDENTITY FULL;
		CREATE TABLE kept (b int, a int, PRIMARY KEY (a, b)); ALTER TABLE kept REPLICA IDENTITY FULL`)
	tp := newTape(t, pg, "TABLE dropped, kept").start()
	pg.Exec("INSERT INTO kept VALUES (1, 2)")
	key := tp.want("insert kept [1 2]")[0].Changes[0].Relation.Key
	if !slices.Equal(key, []int{1, 0}) {
		t.Errorf("key (a, b) of kept is columns %v", key)
	}
	pg.Exec("BEGIN; INSERT INTO dropped VALUES (1, 'x'); DROP TABLE dropped; COMMIT")
	key = tp.want("insert dropped [1 x]")[0].Changes[0].Relation.Key
	if !slices.Equal(key, []int{0}) {
		t.Errorf("key of dropped is columns %v, want the one known before", key)
	}
}

func caseTwoPhase(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE prep (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE prep").start()
	pg.Exec("BEGIN; INSERT INTO prep VALUES (1); PREPARE TRANSACTION 'one'")
	pg.Exec("BEGIN; INSERT INTO prep VALUES (2); PREPARE TRANSACTION 'two'")
	tp.want()
	pg.Exec("ROLLBACK PREPARED 'one'")
	pg.Exec("INSERT INTO prep VALUES (3)")
	pg.Exec("COMMIT PREPARED 'two'")
	tp.want("insert prep [3]", "insert prep [2]")
}

// Transactions come whole and in the order of their commits, however their
// statements were interleaved.
func caseInterleaved(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE inter (id serial PRIMARY KEY, tx int)")
	tp := newTape(t, pg, "TABLE inter").start()
	const n = 40
	conns := make([]*pgx.Conn, n)
	exec := func(i int, sql string) {
		if _, err := conns[i].Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for i := range conns {
		conns[i] = pg.Connect()
		exec(i, "BEGIN")
	}
	for range 5 {
		for i := range conns {
			exec(i, "INSERT INTO inter (tx) VALUES ("+decimal(int64(i))+")")
		}
	}
	for i := range conns {
		exec(n-1-i, "COMMIT")
	}
	txs := tp.rewind()
	if len(txs) != n {
		t.Fatalf("got %d transactions, want %d", len(txs), n)
	}
	last := audit.LSN(0)
	for i, tx := range txs {
		if tx.CommitLSN <= last || len(tx.Changes) != 5 {
			t.Errorf("transaction %d at %s after %s has %d changes", i, tx.CommitLSN, last, len(tx.Changes))
		}
		for _, c := range tx.Changes {
			if got := string(c.New[1].Data); got != decimal(int64(n-1-i)) {
				t.Errorf("transaction %d has a row of %s", i, got)
			}
		}
		last = tx.CommitLSN
	}
}

func caseOrigin(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE orig (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE orig").start()
	pg.Exec("SELECT pg_replication_origin_create('elsewhere')")
	pg.Exec("SELECT pg_replication_origin_session_setup('elsewhere')")
	pg.Exec("SET session_replication_role = replica; INSERT INTO orig VALUES (1)")
	pg.Exec("RESET session_replication_role")
	pg.Exec("SELECT pg_replication_origin_session_reset()")
	pg.Exec("INSERT INTO orig VALUES (2)")
	tp.want("insert orig [1]", "insert orig [2]")
	pg.Exec("SELECT pg_replication_origin_drop('elsewhere')")
}

func caseColumnList(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE listed (id int PRIMARY KEY, secret text, v text, double int GENERATED ALWAYS AS (id * 2) STORED)")
	tp := newTape(t, pg, "TABLE listed (id, v) WHERE (id > 10)").start()
	pg.Exec("INSERT INTO listed VALUES (11, 'x', 'a'), (1, 'x', 'b'); UPDATE listed SET id = 12 WHERE id = 1; UPDATE listed SET id = 2 WHERE id = 11")
	tp.want("insert listed [11 a]", "insert listed [12 b]", "delete listed key[11 -]")
}

// A non-transactional message that is the last record before a commit has, for
// the server, the position of that commit. Ours must differ, or the one would
// be taken for a redelivery of the other.
func caseMessagePosition(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE pos (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE pos").start()
	collided := false
	for range 20 { // another session's record may come between
		pg.Exec("BEGIN; INSERT INTO pos SELECT coalesce(max(id), 0) + 1 FROM pos; SELECT pg_logical_emit_message(false, 'x', 'refused'); COMMIT")
		txs := tp.rewind()
		if len(txs) != 2 || txs[0].XID != 0 || txs[1].XID == 0 {
			t.Fatalf("got %+v, want the message and then the transaction", txs)
		}
		message, commit := txs[0].CommitLSN, txs[1].CommitLSN
		if message >= commit {
			t.Fatalf("message at %s, commit at %s: a message must come before", message, commit)
		}
		collided = collided || txs[0].Changes[0].LSN == commit
	}
	if !collided {
		t.Error("not one message bordered on its commit: this test did not test anything")
	}
}

// Transactions without published changes move the position and bring nothing.
func caseEmpty(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE pub (id int PRIMARY KEY); CREATE TABLE unpub (id int)")
	tp := newTape(t, pg, "TABLE pub").start()
	pg.Exec("INSERT INTO unpub VALUES (1)")
	pg.Exec("CREATE TABLE pub2 (id int)")
	pg.Exec("INSERT INTO pub VALUES (1)")
	for _, tx := range tp.want("insert pub [1]") {
		if len(tx.Changes) == 0 && (!tx.First || !tx.Last || tx.EndLSN == 0) {
			t.Errorf("an empty transaction came as %+v", tx)
		}
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// Without its publication the server sends nothing more: 14 to 17 say so with
// an error, 18 with a warning. Both stop the reading.
func casePublicationDropped(t *testing.T, pg *harness.PG) {
	pg.Exec("CREATE TABLE unpublished (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE unpublished").start()
	pg.Exec("INSERT INTO unpublished VALUES (1)")
	tp.want("insert unpublished [1]")
	pg.Exec("DROP PUBLICATION " + tp.cfg.Publication)
	pg.Exec("INSERT INTO unpublished VALUES (2)")
	if err := tp.failed(); !errors.Is(err, audit.ErrNeedsHuman) || errors.Is(err, ErrSlotLost) || audit.Hint(err) == "" {
		t.Errorf("got %v, want an error about the publication that needs a human", err)
	}
	tp.run()
	if err := tp.failed(); !errors.Is(err, audit.ErrNeedsHuman) || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("at the next start: got %v, want that the publication does not exist", err)
	}
}
