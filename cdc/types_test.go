package cdc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// hostile settings of the reading role and of the database: each of them
// changes how values read, unless the session pins it.
const hostile = `
	ALTER ROLE reader SET DateStyle = 'German, DMY'; ALTER DATABASE %[1]s SET DateStyle = 'SQL, DMY';
	ALTER ROLE reader SET IntervalStyle = 'iso_8601'; ALTER DATABASE %[1]s SET IntervalStyle = 'sql_standard';
	ALTER ROLE reader SET TimeZone = 'Asia/Kolkata'; ALTER DATABASE %[1]s SET TimeZone = 'America/St_Johns';
	ALTER ROLE reader SET extra_float_digits = -15; ALTER ROLE reader SET bytea_output = 'escape';
	ALTER ROLE reader SET client_encoding = 'LATIN1';
	ALTER ROLE reader SET search_path = 'types_schema, public'; ALTER ROLE reader SET quote_all_identifiers = on;
	ALTER ROLE reader SET standard_conforming_strings = off; ALTER ROLE reader SET client_min_messages = 'error';
	ALTER ROLE reader SET xmlbinary = 'hex'; ALTER ROLE reader SET default_transaction_read_only = on;
	ALTER ROLE reader SET statement_timeout = '20s'; ALTER ROLE reader SET row_security = off`

const typesSetup = `CREATE SCHEMA types_schema; SET search_path = types_schema, public;
	CREATE TYPE mood AS ENUM ('sad', 'so so', 'it''s "ok"');
	CREATE TYPE pair AS (a int, b text); CREATE DOMAIN positive AS int CHECK (value > 0);
	CREATE DOMAIN pairs AS pair[]; CREATE TYPE span AS RANGE (subtype = float8);
	CREATE TABLE named (id int)`

// everyPlane has characters of one to four bytes, from every plane of Unicode
// that has any.
const everyPlane = "aé→\U0001F600\U00020000\U000E0041\U0010FFFD"

// digits is a number of 1000 digits.
var digits = strings.Repeat("1234567890", 100)

// typeCase is a value and the text that it must be captured as.
type typeCase struct{ typ, value, want string }

var typeCases = []typeCase{
	{typ: "smallint", value: "-32768", want: "-32768"},
	{typ: "int", value: "2147483647", want: "2147483647"},
	{typ: "bigint", value: "-9223372036854775808", want: "-9223372036854775808"},
	{typ: "numeric", value: "'NaN'", want: "NaN"},
	{typ: "numeric", value: "'-Infinity'", want: "-Infinity"},
	{typ: "numeric", value: digits + ".00", want: digits + ".00"},
	{typ: "numeric(12,2)", value: "250", want: "250.00"},
	{typ: "numeric", value: "1e-20", want: "0.00000000000000000001"},
	{typ: "real", value: "'NaN'", want: "NaN"},
	{typ: "real", value: "0.1", want: "0.1"},
	{typ: "real", value: "1.17549435e-38", want: "1.1754944e-38"},
	{typ: "float8", value: "'-Infinity'", want: "-Infinity"},
	{typ: "float8", value: "'-0'", want: "-0"},
	{typ: "float8", value: "0.1::float8 + 0.2::float8", want: "0.30000000000000004"},
	{typ: "float8", value: "'5e-324'", want: "5e-324"},
	{typ: "money", value: "'1234567.89'::numeric::money", want: "$1,234,567.89"},
	{typ: "text", value: "''", want: ""},
	{typ: "text", value: "'" + everyPlane + "'", want: everyPlane},
	{typ: "text", value: `E'tab\tline\nquote''back\\slash'`, want: "tab\tline\nquote'back\\slash"},
	{typ: "varchar(5)", value: "'abc'", want: "abc"},
	{typ: "char(5)", value: "'ab'", want: "ab   "},
	{typ: `"char"`, value: "'x'", want: "x"},
	{typ: "name", value: "'n'", want: "n"},
	{typ: "bytea", value: `'\xdeadBEEF00'`, want: `\xdeadbeef00`},
	{typ: "bytea", value: `''`, want: `\x`},
	{typ: "timestamp", value: "'infinity'", want: "infinity"},
	{typ: "timestamp", value: "'4713-01-01 00:00:00 BC'", want: "4713-01-01 00:00:00 BC"},
	{typ: "timestamp", value: "'2026-01-02 03:04:05.123456'", want: "2026-01-02 03:04:05.123456"},
	{typ: "timestamptz", value: "'2026-07-02 03:04:05.12+05:30'", want: "2026-07-01 21:34:05.12+00"},
	{typ: "timestamptz", value: "'294276-12-31 23:59:59.999999+00'", want: "294276-12-31 23:59:59.999999+00"},
	{typ: "timestamptz", value: "'-infinity'", want: "-infinity"},
	{typ: "date", value: "'4713-01-01 BC'", want: "4713-01-01 BC"},
	{typ: "date", value: "'12345-03-02'", want: "12345-03-02"},
	{typ: "date", value: "'infinity'", want: "infinity"},
	{typ: "time", value: "'24:00'", want: "24:00:00"},
	{typ: "timetz", value: "'01:02:03.4+05:06:07'", want: "01:02:03.4+05:06:07"},
	{typ: "interval", value: "'1 year -2 mons +3 days -04:05:06.789'", want: "10 mons 3 days -04:05:06.789"},
	{typ: "interval", value: "'0'", want: "00:00:00"},
	{typ: "boolean", value: "true", want: "t"},
	{typ: "boolean", value: "false", want: "f"},
	{typ: "uuid", value: "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", want: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	{typ: "json", value: `'{"b": 1,  "a":1e400, "b": "\u0000"}'`, want: `{"b": 1,  "a":1e400, "b": "\u0000"}`},
	{typ: "jsonb", value: `'{"b": 9007199254740993, "a": [1.10, null]}'`, want: `{"a": [1.10, null], "b": 9007199254740993}`},
	{typ: "int[]", value: "'[0:1][2:3]={{1,2},{NULL,4}}'", want: "[0:1][2:3]={{1,2},{NULL,4}}"},
	{typ: "text[]", value: `ARRAY['a b', 'q"', NULL, 'NULL', '', 'back\slash', '{}']`, want: `{"a b","q\"",NULL,"NULL","","back\\slash","{}"}`},
	{typ: "timestamptz[]", value: "ARRAY['2026-01-01 00:00:00+01'::timestamptz]", want: `{"2025-12-31 23:00:00+00"}`},
	{typ: "int[]", value: "'{}'", want: "{}"},
	{typ: "mood", value: `'it''s "ok"'`, want: `it's "ok"`},
	{typ: "mood[]", value: `'{"so so",sad}'`, want: `{"so so",sad}`},
	{typ: "positive", value: "7", want: "7"},
	{typ: "pair", value: `ROW(1, 'x, "y" (z)')`, want: `(1,"x, ""y"" (z)")`},
	{typ: "pair", value: `ROW(NULL, '')`, want: `(,"")`},
	{typ: "pairs", value: `ARRAY[ROW(1, 'a b')::pair]`, want: `{"(1,\"a b\")"}`},
	{typ: "int4range", value: "'[1,5]'", want: "[1,6)"},
	{typ: "tstzrange", value: "'[2026-01-01 00:00+01,)'", want: `["2025-12-31 23:00:00+00",)`},
	{typ: "span", value: "'(0.1,infinity)'", want: "(0.1,Infinity)"},
	{typ: "int4range", value: "'empty'", want: "empty"},
	{typ: "int4multirange", value: "'{[1,2],[5,7)}'", want: "{[1,3),[5,7)}"},
	{typ: "inet", value: "'192.168.0.1/24'", want: "192.168.0.1/24"},
	{typ: "inet", value: "'::ffff:1.2.3.4'", want: "::ffff:1.2.3.4"},
	{typ: "cidr", value: "'10.0.0.0/8'", want: "10.0.0.0/8"},
	{typ: "macaddr", value: "'08:00:2b:01:02:03'", want: "08:00:2b:01:02:03"},
	{typ: "macaddr8", value: "'08:00:2b:01:02:03:04:05'", want: "08:00:2b:01:02:03:04:05"},
	{typ: "bit(4)", value: "B'1010'", want: "1010"},
	{typ: "bit varying", value: "B'101'", want: "101"},
	{typ: "tsvector", value: "'fat:2 cat''s:1'", want: "'cat''s':1 'fat':2"},
	{typ: "tsquery", value: "'a & !b'", want: "'a' & !'b'"},
	{typ: "xml", value: "'<a b=\"1\">x</a>'", want: `<a b="1">x</a>`},
	{typ: "point", value: "'(1.5,-2)'", want: "(1.5,-2)"},
	{typ: "polygon", value: "'((0,0),(0.1,1),(1,0))'", want: "((0,0),(0.1,1),(1,0))"},
	{typ: "pg_lsn", value: "'16/B374D848'", want: "16/B374D848"},
	{typ: "regclass", value: "'types_schema.named'", want: "types_schema.named"},
	{typ: "regtype", value: "'timestamptz'", want: "timestamp with time zone"},
	{typ: "oid", value: "4294967295", want: "4294967295"},
	{typ: "xid8", value: "'18446744073709551615'", want: "18446744073709551615"},
	{typ: "int GENERATED BY DEFAULT AS IDENTITY", value: "DEFAULT", want: "1"},
}

// caseTypes captures one value of every type, under settings that would make
// most of them read differently.
func caseTypes(t *testing.T, pg *harness.PG) {
	pg.Exec(typesSetup)
	cases := typeCases
	columns, values := make([]string, len(cases)), make([]string, len(cases))
	for i, c := range cases {
		columns[i] = fmt.Sprintf("c%d %s", i, c.typ)
		values[i] = c.value
	}
	pg.Exec("CREATE TABLE public.types (id int PRIMARY KEY, " + strings.Join(columns, ", ") + ")")
	tp := newTape(t, pg, "TABLE public.types")
	pg.Exec(fmt.Sprintf(hostile, pg.Database))
	t.Cleanup(func() { pg.Exec("ALTER ROLE reader RESET ALL; ALTER DATABASE " + pg.Database + " RESET ALL") })
	tp.start()
	pg.Exec("SET search_path = types_schema, public; SET standard_conforming_strings = on; INSERT INTO public.types VALUES (1, " + strings.Join(values, ", ") + ")")
	pg.Exec("INSERT INTO public.types (id) VALUES (2); RESET search_path")
	txs := slices.DeleteFunc(tp.rewind(), func(tx audit.Tx) bool { return len(tx.Changes) == 0 }) // of 14
	if len(txs) != 2 || len(txs[0].Changes) != 1 {
		t.Fatalf("got %d transactions, want 2", len(txs))
	}
	change := txs[0].Changes[0]
	for i, c := range cases {
		v := change.New[i+1]
		if v.Kind != audit.Literal || string(v.Data) != c.want {
			t.Errorf("%s %s: got %c %q, want %q", c.typ, c.value, v.Kind, v.Data, c.want)
		}
	}
	nulls := slices.IndexFunc(txs[1].Changes[0].New[1:len(cases)-1], func(v audit.Value) bool { return v.Kind != audit.Null })
	if nulls >= 0 {
		t.Errorf("%s: NULL came as something else", cases[nulls].typ)
	}
}
