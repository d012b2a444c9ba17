package pgwitness

import (
	"strings"
	"testing"
)

func TestEditsOfAPublication(t *testing.T) {
	const (
		orders = "public.orders"
		items  = "public.items"
	)
	base := func() *publication {
		return &publication{
			Version: "100.700", Publish: "insert, update, delete, truncate",
			Tables: map[string]publishedTable{orders: {OID: 1, Version: "11.700"}, items: {OID: 2, Version: "12.700"}},
		}
	}
	change := func(p *publication, table string, f func(*publishedTable)) {
		changed := p.Tables[table]
		f(&changed)
		p.Tables[table] = changed
	}
	for _, c := range []struct {
		name   string
		edit   func(after *publication)
		exists bool   // what is not published any more is still there
		want   string // edits, a ! for those that may hide changes
	}{
		{"nothing", func(*publication) {}, true, ""},
		{"table dropped", func(p *publication) { delete(p.Tables, orders) }, false, "public.orders dropped"},
		{"table taken out", func(p *publication) { delete(p.Tables, orders) }, true, "!public.orders taken out of the publication"},
		{"table put back", func(p *publication) { change(p, orders, func(t *publishedTable) { t.Version = "13.701" }) }, true, "!public.orders taken out of the publication and put back"},
		{"table made anew", func(p *publication) { p.Tables[orders] = publishedTable{OID: 9, Version: "14.702"} }, false, "public.orders dropped and created again"},
		{"table replaced", func(p *publication) { p.Tables[orders] = publishedTable{OID: 9, Version: "14.702"} }, true, "!public.orders another table of this name is published"},
		{"table added", func(p *publication) { p.Tables["public.z"] = publishedTable{OID: 3} }, true, "public.z published from now on"},
		{"row filter", func(p *publication) {
			change(p, orders, func(t *publishedTable) { t.Version, t.Filter = "13.701", "(id > 100)" })
		}, true, "!public.orders row filter"},
		{"column list", func(p *publication) {
			change(p, items, func(t *publishedTable) { t.Version, t.Columns = "13.701", []string{"id"} })
		}, true, "!public.items column list"},
		{"inserts only", func(p *publication) { p.Version, p.Publish = "100.701", "insert" }, true, "!kinds of changes"},
		{"altered and back", func(p *publication) { p.Version = "100.702" }, true, "!altered, and perhaps altered back"},
		{"via root", func(p *publication) { p.Version, p.ViaRoot = "100.702", true }, true, "publish_via_partition_root"},
		{"made anew", func(p *publication) { p.Version = "101.702" }, true, "!dropped and created again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after := base(), base()
			c.edit(after)
			exists := make(map[int64]bool)
			for _, oid := range before.missingFrom(after) {
				exists[oid] = c.exists
			}
			var got []string
			for _, e := range before.editsTo(after, exists) {
				text := strings.TrimSpace(e.Table + " " + e.What)
				if e.Hidden {
					text = "!" + text
				}
				got = append(got, text)
			}
			if text := strings.Join(got, "; "); text != c.want {
				t.Errorf("edits %q, want %q", text, c.want)
			}
		})
	}
}

// Passwords decide nothing about the trail, everything else does.
func TestHashOfTheConfiguration(t *testing.T) {
	hash := func(text string) string {
		t.Helper()
		cfg, err := ParseConfig("conf.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		h, err := cfg.Streams[0].hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	with := func(dsn, more string) string {
		return hash("streams:\n  - name: shop\n    postgres: {dsn: \"" + dsn + "\"}\n    tables: [{name: public.*}]\n" + more)
	}
	one := with("postgres://u:secret@h/d", "")
	if two := with("postgres://u:other@h/d", ""); two != one {
		t.Error("another password is another configuration")
	}
	for _, other := range []string{
		with("postgres://u:secret@h2/d", ""), with("postgres://u:secret@h/d", "    exclude: [public.x]\n"),
		with("postgres://u:secret@h/d", "    heartbeat_interval: 0s\n"),
	} {
		if other == one {
			t.Error("another configuration has the same hash")
		}
	}
}
