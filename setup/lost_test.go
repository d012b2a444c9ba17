package setup

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// ddlLoses: of each way in which a command gives rows other values without a row
// in the log, the columns are told, and no others.
func ddlLoses(t *testing.T, d *database) {
	d.watched("CREATE TYPE mood AS ENUM ('sad', 'ok')", "CREATE DOMAIN feeling AS mood", "CREATE TYPE pair AS (a int, b mood)", "CREATE DOMAIN ranked AS int DEFAULT 3",
		"CREATE TABLE t (id int PRIMARY KEY, n int, s varchar(9), m mood[], f feeling, p pair[], x numeric(8,2), twice int GENERATED ALWAYS AS (n * 2) STORED)",
		"CREATE TABLE heir (more int) INHERITS (t)", "CREATE TABLE kind (k int, m mood)", "CREATE TABLE holder (id int, h kind)", "CREATE TABLE other (id int, v text)",
		"CREATE TABLE whole (id int, v int) PARTITION BY RANGE (id)", "CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (9)")
	for _, c := range []struct{ do, lost string }{
		{"ALTER TABLE t ADD told int DEFAULT 7, ADD nothing text", ""},
		{"ALTER TABLE t ADD given float DEFAULT random()", "t: given; heir: given"},
		{"ALTER TABLE ONLY other ADD serial_no int GENERATED ALWAYS AS IDENTITY", "other: serial_no"},
		{"ALTER TABLE other ADD r ranked", ""},                        // the domain has a constant default
		{"ALTER TABLE other ALTER v TYPE varchar(99)", "other: v, r"}, // all rows are written anew: r may be another, too
		{"ALTER TABLE other ALTER v TYPE varchar(100)", ""},
		{"ALTER TABLE t ALTER s TYPE varchar(10), ALTER x TYPE numeric(9,2)", ""},
		{"ALTER TABLE t ALTER s TYPE varchar(5)", "t: s; heir: s"},
		{"ALTER TABLE t ALTER told TYPE int USING told + 1, ALTER x TYPE numeric(10,2)", "t: x, told; heir: x, told"},
		{"ALTER TABLE other ALTER id TYPE bigint", "other: id"},
		{"ALTER TABLE other ALTER v TYPE text, ALTER serial_no DROP IDENTITY", ""},
		{"ALTER TYPE mood ADD VALUE 'fine'", ""},
		{"ALTER TYPE mood RENAME VALUE 'ok' TO 'well'", "t: m, f, p; heir: m, f, p; kind: m; holder: h"},
		{"ALTER TYPE pair ADD ATTRIBUTE c text", "t: p; heir: p"},
		{"ALTER TYPE pair RENAME ATTRIBUTE c TO d", ""},
		{"ALTER TYPE pair RENAME TO couple", ""},
		{"ALTER TYPE couple DROP ATTRIBUTE d", "t: p; heir: p"},
		{"ALTER TABLE kind ADD last int", "holder: h"},
		{"ALTER TABLE part SET UNLOGGED", ""},
		{"ALTER TABLE part SET LOGGED", "part: id, v"},
		{"ALTER TABLE whole ADD w float DEFAULT random()", "part: w"},
		{"CLUSTER t USING t_pkey", ""},
		{"ALTER TABLE t SET (fillfactor = 50)", ""},
		{"ALTER TABLE t ALTER twice DROP EXPRESSION", map[bool]string{false: "t: twice; heir: twice"}[d.major >= 18]}, // in the log since 18
	} {
		d.log()
		d.exec("BEGIN; SAVEPOINT s; " + c.do + "; COMMIT")
		_, all := d.messages()
		var got []string
		for _, m := range all {
			if m.DDL.Err != "" {
				t.Errorf("%s: the event trigger failed: %s", c.do, m.DDL.Err)
			}
			for _, a := range m.DDL.Altered {
				if len(a.Lost) > 0 {
					got = append(got, fmt.Sprintf("%s: %s", a.After["n"], strings.Join(a.Lost, ", ")))
				}
			}
		}
		if strings.Join(got, "; ") != c.lost {
			t.Errorf("%s made unknown %q, want %q", c.do, strings.Join(got, "; "), c.lost)
		}
	}
	if got := d.value("SELECT string_agg(relation::regclass::text, ' ' ORDER BY relation::regclass::text) FROM pgwitness.audited WHERE known ? 'z'"); got != "heir holder kind other part t" {
		t.Errorf("to be read again: %s", got)
	}
}

// ddlLeavesUpdates: whatever a command does to what a published table is updated
// by, the application's UPDATE goes through.
func ddlLeavesUpdates(t *testing.T, d *database) {
	d.watched("CREATE TABLE keyed (id int PRIMARY KEY, v int)", "CREATE TABLE bare (v int)", "INSERT INTO keyed VALUES (1, 1)", "INSERT INTO bare VALUES (1)")
	do := []string{"ALTER TABLE customers DROP CONSTRAINT customers_pkey CASCADE", "UPDATE customers SET name = name"}
	if d.major >= 18 {
		do = append(do, "ALTER TABLE keyed ADD twice int GENERATED ALWAYS AS (v * 2)", "UPDATE keyed SET v = 2",
			"ALTER TABLE bare ADD twice int GENERATED ALWAYS AS (v * 2)", "UPDATE bare SET v = 2", "ALTER TABLE bare ADD PRIMARY KEY (v)", "UPDATE bare SET v = 3")
	}
	d.exec(do...)
	if d.major < 18 {
		return
	}
	lines, _ := d.messages()
	want := []string{"S1", "D1 ALTER TABLE, table public.keyed [public.keyed: replica identity]", "S1", "update keyed",
		"D1 ALTER TABLE, table public.bare [public.bare: published no more]", "S1", "D1 ALTER TABLE, table public.bare [public.bare: replica identity, published]", "S1", "update bare"}
	if got := lines[len(lines)-min(len(lines), len(want)):]; !slices.Equal(got, want) {
		t.Errorf("the log says\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
