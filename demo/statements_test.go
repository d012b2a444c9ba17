package demo

import (
	"regexp"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

// Each file must hold what the header of a statement says about it: a counter
// that believes the wrong table would be wrong without anybody noticing.
func TestStatementHeadersMatchTheirSQL(t *testing.T) {
	target := regexp.MustCompile(`(?:INSERT INTO|UPDATE|DELETE FROM|TRUNCATE)\s+(\w+)`)
	for _, file := range []string{"seed", "storefront", "admin", "partner", "shopify", "nightly", "psql", "hero", "recall", "census"} {
		sql, err := loadStatements(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(sql.order) == 0 {
			t.Errorf("%s.sql has no statements", file)
		}
		for _, st := range sql.byName {
			changes := ""
			if m := target.FindStringSubmatch(st.text); m != nil && m[1] != "SKIP" {
				changes = m[1]
			}
			if st.table != changes {
				t.Errorf("%s.sql: %s says it changes %q, its text changes %q", file, st.name, st.table, changes)
			}
			if st.trigger != "" && !slices.Contains(Tables(), st.trigger) {
				t.Errorf("%s.sql: %s has a trigger on %q, which is no table", file, st.name, st.trigger)
			}
		}
	}
}

func TestConfigurationListsExactlyTheTables(t *testing.T) {
	var cfg struct {
		Streams []struct {
			Tables []struct {
				Name string `yaml:"name"`
			} `yaml:"tables"`
			Actors []struct {
				Match struct {
					DBUser string `yaml:"db_user"`
				} `yaml:"match"`
			} `yaml:"actors"`
		} `yaml:"streams"`
	}
	if err := yaml.Unmarshal(Configuration(), &cfg); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	var tables []string
	for _, table := range cfg.Streams[0].Tables {
		tables = append(tables, table.Name)
	}
	slices.Sort(tables)
	var want []string
	for _, table := range Tables() {
		want = append(want, "public."+table)
	}
	if !slices.Equal(tables, want) {
		t.Errorf("configuration has tables\n%v, want\n%v", tables, want)
	}
	for _, role := range Roles() {
		known := false
		for _, a := range cfg.Streams[0].Actors {
			known = known || a.Match.DBUser == role
		}
		if !known {
			t.Errorf("no actor rule knows the role %s", role)
		}
	}
}

func TestCommentFollowsSQLCommenter(t *testing.T) {
	c := comment{controller: "checkout", action: "it's place", route: "/a b/:id", trace: "4bf92f3577b34da6a3ce929d0e0e4736"}
	got := c.around("SELECT 1", 0x10)
	want := `SELECT 1 /*action='it%27s%20place',application='storefront',controller='checkout',framework='rails%3A7.1',` +
		`route='%2Fa%20b%2F%3Aid',traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000011-01'*/`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := (comment{}).around("SELECT 1", 1); got != "SELECT 1" {
		t.Errorf("a program without comments sent %q", got)
	}
}

func TestQuoteIsAnSQLLiteral(t *testing.T) {
	if got := quote(`O'Hara\`); got != `'O''Hara\'` {
		t.Errorf("got %s", got)
	}
}

func TestMoneyAndCents(t *testing.T) {
	for _, amount := range []string{"0.00", "0.07", "12.30", "9999999.99"} {
		n, err := cents(amount)
		if err != nil || money(n) != amount {
			t.Errorf("%s became %d, %v", amount, n, err)
		}
	}
	if _, err := cents("1.0x"); err == nil {
		t.Error("1.0x passed as an amount")
	}
}
