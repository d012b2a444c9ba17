package cdc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// seeds is one message of every kind.
func seeds() [][]byte {
	return [][]byte{
		msgBegin(0x1708900, 1_700_000_000_000_000, 734),
		msgCommit(0x1708900, 0x1708A98, 1_700_000_000_000_000),
		orders(),
		msgRow('I', 7, msgTuple('N', "1", "a", nil)),
		msgRow('U', 7, msgTuple('N', "1", unchanged{}, "x")),
		msgRow('U', 7, msgTuple('K', "1", nil, nil), msgTuple('N', "2", "", nil)),
		msgRow('U', 7, msgTuple('O', "1", "a", nil), msgTuple('N', "2", "ü", nil)),
		msgRow('D', 7, msgTuple('K', "1", nil, nil)),
		msgRow('D', 7, msgTuple('O', "1", "a", "b")),
		msgTruncate(3, 7, 7),
		msgLogical(true, 0x1709FC0, "pgwitness", "S1{}"),
		msgLogical(false, 0x1709FC0, "", ""),
		append([]byte{'Y', 0, 0, 0x40, 0}, "public\x00mood\x00"...),
		append([]byte{'O', 0, 0, 0, 0, 0, 0, 0, 9}, "elsewhere\x00"...),
	}
}

// FuzzDecode gives any bytes to the decoder. It must not panic, must refuse
// with a DecodeError, and may only accept what pglogrepl, whose parser others
// use, reads the same out of.
func FuzzDecode(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		d := newDecoder(fixedKeys{})
		decodeAll(t, d, orders())
		readOrRefused(t, d, frame)
	})
}

// readOrRefused decodes a frame, which is read as pglogrepl reads it or refused
// with a DecodeError; then the message is nil.
func readOrRefused(t *testing.T, d *decoder, frame []byte) *message {
	m, err := d.decode(context.Background(), 0x10, frame)
	if err == nil {
		compare(t, d, m, frame)
		return m
	}
	if bad := (*DecodeError)(nil); !errors.As(err, &bad) {
		t.Errorf("%q is refused with %v, want a DecodeError", frame, err)
	}
	return nil
}

// compare fails the test unless pglogrepl reads from the frame what we read.
func compare(t *testing.T, d *decoder, m *message, frame []byte) {
	t.Helper()
	oracle, err := oracleParse(frame)
	if m.kind == pglogrepl.MessageTypeInsert && len(m.change.New) == 0 && len(frame) == len("I....N..") {
		return // INSERT … DEFAULT VALUES into a table without columns: for pglogrepl it is too short
	}
	if err != nil {
		t.Errorf("%q is accepted, and refused by pglogrepl: %v", frame, err)
		return
	}
	var want, got any = oracle, nil
	ignore := cmpopts.IgnoreUnexported(pglogrepl.BeginMessage{}, pglogrepl.CommitMessage{})
	switch o := oracle.(type) {
	case *pglogrepl.BeginMessage: // pglogrepl counts in nanoseconds, which overflow
		want = fmt.Sprint(o.FinalLSN, o.CommitTime.UnixNano(), o.Xid)
		got = fmt.Sprint(m.commitLSN, m.time*1000, m.xid)
	case *pglogrepl.CommitMessage:
		want = fmt.Sprint(o.CommitLSN, o.TransactionEndLSN, o.CommitTime.UnixNano())
		got = fmt.Sprint(m.commitLSN, m.endLSN, m.time*1000)
	case *pglogrepl.RelationMessage:
		want, got = oracleRelation(o), d.relations[o.RelationID]
		ignore = cmpopts.IgnoreFields(audit.Relation{}, "Key")
	case *pglogrepl.InsertMessage:
		want, got = oracleRow(m, o.Tuple, 'N'), m.change.New
	case *pglogrepl.UpdateMessage:
		want = [2]audit.Tuple{oracleRow(m, o.OldTuple, o.OldTupleType), oracleRow(m, o.NewTuple, 'N')}
		got = [2]audit.Tuple{m.change.Old, m.change.New}
	case *pglogrepl.DeleteMessage:
		want, got = oracleRow(m, o.OldTuple, o.OldTupleType), m.change.Old
	case *pglogrepl.TruncateMessage:
		ids := []uint32{}
		for _, rel := range m.truncated {
			ids = append(ids, rel.ID)
		}
		want = fmt.Sprint(o.RelationIDs, o.Option&1 != 0, o.Option&2 != 0)
		got = fmt.Sprint(ids, m.change.Cascade, m.change.RestartIdentity)
	case *pglogrepl.LogicalDecodingMessage:
		want = fmt.Sprintf("%s %t %q %q", o.LSN, o.Transactional, o.Prefix, o.Content)
		got = fmt.Sprintf("%s %t %q %q", m.change.LSN, m.change.Message.Transactional, m.change.Message.Prefix, m.change.Message.Content)
	case *pglogrepl.TypeMessage, *pglogrepl.OriginMessage:
		return // we read them only to know that they can be read
	}
	// Byte by byte, as cmp compares slices, a row takes longer than all the rest.
	whole := cmp.FilterValues(func(a, b []byte) bool { return len(a) > 0 && len(b) > 0 }, cmp.Comparer(bytes.Equal))
	if diff := cmp.Diff(want, got, ignore, whole, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%q: pglogrepl reads (-), we read (+):\n%s", frame, diff)
	}
}

// oracleParse calls pglogrepl, which panics on some input.
func oracleParse(frame []byte) (m pglogrepl.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return pglogrepl.Parse(frame)
}

func oracleRelation(o *pglogrepl.RelationMessage) *audit.Relation {
	rel := &audit.Relation{ID: o.RelationID, Schema: o.Namespace, Name: o.RelationName, Identity: o.ReplicaIdentity}
	if rel.Schema == "" {
		rel.Schema = "pg_catalog"
	}
	for _, c := range o.Columns {
		rel.Columns = append(rel.Columns, audit.Column{Name: c.Name, TypeOID: c.DataType, TypeMod: c.TypeModifier, InIdentity: c.Flags == 1})
	}
	return rel
}

// oracleRow is a tuple as pglogrepl reads it, with what PostgreSQL means by the
// NULLs of a key.
func oracleRow(m *message, o *pglogrepl.TupleData, mark uint8) audit.Tuple {
	if o == nil {
		return nil
	}
	t := audit.Tuple{}
	for i, c := range o.Columns {
		v := audit.Value{Kind: audit.ValueKind(c.DataType), Data: c.Data}
		if mark == 'K' && !m.change.Relation.Columns[i].InIdentity && v.Kind == audit.Null {
			v.Kind = audit.Absent
		}
		t = append(t, v)
	}
	return t
}

// What real servers write reads the same with pglogrepl, and whether it comes
// from a walsender or, as here, from a query.
func TestOracle(t *testing.T) {
	for _, v := range harness.PostgresVersions(t) {
		t.Run(v.String(), func(t *testing.T) {
			pg := harness.PostgresServer(t, v.Major, nil)
			pg.Exec(`CREATE TYPE mood AS ENUM ('sad', 'ok');
				CREATE TABLE a (id int, k text, m mood, v text, PRIMARY KEY (k, id)); ALTER TABLE a ALTER v SET STORAGE EXTERNAL;
				CREATE TABLE b (LIKE a INCLUDING ALL); ALTER TABLE b REPLICA IDENTITY FULL; CREATE TABLE bare ()`)
			tp := newTape(t, pg, "TABLE a, b, bare")
			for _, table := range []string{"a", "b"} {
				pg.Exec(strings.ReplaceAll(`INSERT INTO $ SELECT i, 'k' || i, 'ok', repeat('x', i * 100) FROM generate_series(1, 50) i; UPDATE $ SET m = 'sad';
					UPDATE $ SET k = k || 'ü' WHERE id < 20; UPDATE $ SET v = NULL WHERE id % 2 = 0; DELETE FROM $ WHERE id < 5`, "$", table))
			}
			pg.Exec("INSERT INTO bare DEFAULT VALUES; TRUNCATE a, b RESTART IDENTITY CASCADE; SELECT pg_logical_emit_message(true, 'p', 'c'); SELECT pg_logical_emit_message(false, 'p', '')")
			rows, err := pg.Connect().Query(t.Context(), "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', $2, 'messages', 'true')", tp.cfg.Slot, tp.cfg.Publication)
			if err != nil {
				t.Fatal(err)
			}
			frames, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
			if err != nil {
				t.Fatal(err)
			}
			d, kinds := newDecoder(fixedKeys{}), map[byte]bool{}
			for _, f := range frames {
				m, err := d.decode(t.Context(), 1, f)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, d, m, f)
				kinds[f[0]] = true
			}
			for _, kind := range []byte("BCRYIUDTM") {
				if !kinds[kind] {
					t.Errorf("among %d messages there is none of type %q", len(frames), kind)
				}
			}
		})
	}
}
