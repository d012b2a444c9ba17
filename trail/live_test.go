package trail

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// rendered is a table of types whose text form depends on settings, or differs
// between the output function, which writes the log, and a cast to text.
const rendered = `
	CREATE TYPE pair AS (a int, b text);
	CREATE TABLE rendered (
		id int PRIMARY KEY, ok boolean, code char(5), host inet, net cidr, price money, ratio float8, ts timestamptz, day date, span interval,
		raw bytea, doc json, docb jsonb, amounts numeric[], nothing pair, half pair, kind regclass, n numeric, twice int GENERATED ALWAYS AS (id * 2) STORED,
		"Odd ""name" text);
	INSERT INTO rendered VALUES (1, true, 'ab', '10.0.0.1', '10.0.0.0/8', 1234.5, 0.1::float8 + 0.2::float8, '2026-01-02 03:04:05.123456+02', '2026-01-02', '1 day 2 hours',
		'\x00ff', '{"a":  1, "a":2}', '{"b": 1e400, "a": 9007199254740993}', '{1.50,NULL}', NULL, ROW(NULL, NULL), 'rendered', 'NaN', DEFAULT, E'tab\there "quoted" \\ ünïcode');
	INSERT INTO rendered (id, ok) VALUES (2, false)`

func renderedEntries() []audit.Entry {
	first := `{"id":1,"ok":true,"code":"ab   ","host":"10.0.0.1","net":"10.0.0.0/8","price":"$1,234.50","ratio":"0.30000000000000004",` +
		`"ts":"2026-01-02 01:04:05.123456+00","day":"2026-01-02","span":"1 day 02:00:00","raw":"\\x00ff","doc":"{\"a\":  1, \"a\":2}",` +
		`"docb":"{\"a\": 9007199254740993, \"b\": 1` + strings.Repeat("0", 400) + `}","amounts":"{1.50,NULL}","nothing":null,"half":"(,)",` +
		`"kind":"public.rendered","n":"NaN","Odd \"name":"tab\there \"quoted\" \\ ünïcode"}`
	second := `{"id":2,"ok":false,"code":null,"host":null,"net":null,"price":null,"ratio":null,"ts":null,"day":null,"span":null,"raw":null,"doc":null,` +
		`"docb":null,"amounts":null,"nothing":null,"half":null,"kind":null,"n":null,"Odd \"name":null}`
	var out []audit.Entry
	for _, values := range []string{first, second} {
		e := shopify(at("insert", "create", "", values))
		e.TableName = audit.T("rendered")
		out = append(out, e)
	}
	return out
}

// The live table is read in the very bytes that the log holds, even when the
// role has settings of its own.
func TestCompareLive(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec(rendered)
	b := newBook(t)
	b.write(renderedEntries()...)

	conn := pg.Connect()
	for _, setting := range []string{"DateStyle = 'SQL, DMY'", "IntervalStyle = 'iso_8601'", "TimeZone = 'Asia/Tokyo'", "extra_float_digits = 0",
		"bytea_output = 'escape'", "quote_all_identifiers = on", "search_path = public"} {
		if _, err := conn.Exec(t.Context(), "SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	compare := func(last *uint64) Comparison {
		t.Helper()
		var got Comparison
		err := Snapshot(t.Context(), conn, func(tx pgx.Tx) error {
			key, err := LiveKey(t.Context(), tx, "public", "rendered")
			if err != nil {
				return err
			}
			f, err := b.Fold(t.Context(), "shop", "public", "rendered", key, last)
			if err != nil {
				return err
			}
			got, err = f.CompareLive(t.Context(), tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := compare(nil); !got.Exact() || got.Rows != 2 {
		t.Errorf("got %s: %+v", got, got.First)
	}
	first := uint64(0)
	if got := compare(&first); got.Missing != 1 || got.Same != 1 {
		t.Errorf("fold up to the first entry: got %s", got)
	}
	pg.Exec(`UPDATE rendered SET ok = NULL WHERE id = 2; DELETE FROM rendered WHERE id = 1; INSERT INTO rendered (id) VALUES (3)`)
	got := compare(nil)
	if got.Different != 1 || got.Extra != 1 || got.Missing != 1 {
		t.Errorf("after changes that are not in the trail: got %s", got)
	}
	if diff := cmp.Diff([]ColumnDifference{{"ok", Value{Bool, "false"}, Value{Kind: Null}}}, got.First[0].Columns); diff != "" {
		t.Errorf("difference differs (-want +got):\n%s", diff)
	}
}

func TestLiveTables(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec(`
		CREATE TABLE parent (id int, a text); CREATE TABLE child () INHERITS (parent);
		INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (2, 'c');
		CREATE TABLE root (b int, a text, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
		CREATE TABLE leaf PARTITION OF root FOR VALUES IN ('x'); INSERT INTO root VALUES (1, 'x');
		CREATE TABLE bag (a int); INSERT INTO bag VALUES (1), (1), (NULL);
		CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES;`)
	conn := pg.Connect()
	err := Snapshot(t.Context(), conn, func(tx pgx.Tx) error {
		pg.Exec("INSERT INTO bag VALUES (9)") // after the snapshot: not seen
		for table, want := range map[string]struct {
			key  string
			rows []string
		}{
			"parent": {"", []string{"1|p"}}, "child": {"", []string{"2|c"}}, "root": {"a,b", []string{"1|x"}}, "leaf": {"a,b", []string{"1|x"}},
			"bag": {"", []string{"1", "1", "NULL"}},
		} {
			key, err := LiveKey(t.Context(), tx, "public", table)
			if err != nil {
				return err
			}
			live, err := ReadLive(t.Context(), tx, "public", table)
			if err != nil {
				return err
			}
			var rows []string
			for values, err := range live.Rows {
				if err != nil {
					return err
				}
				var texts []string
				for _, v := range values {
					text := string(v)
					if v == nil {
						text = "NULL"
					}
					texts = append(texts, text)
				}
				rows = append(rows, strings.Join(texts, "|"))
			}
			if diff := cmp.Diff(want.rows, rows); diff != "" || strings.Join(key, ",") != want.key {
				t.Errorf("%s: key %v, rows differ (-want +got):\n%s", table, key, diff)
			}
		}
		for _, table := range []string{"missing", "bare"} {
			if _, err := ReadLive(t.Context(), tx, "public", table); err == nil || audit.Hint(err) == "" {
				t.Errorf("%s: got %v, want an error with a hint", table, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var path string
	if err := conn.QueryRow(t.Context(), "SHOW search_path").Scan(&path); err != nil || path == "" {
		t.Errorf("the settings outlive the snapshot: search_path is %q, %v", path, err)
	}
}
