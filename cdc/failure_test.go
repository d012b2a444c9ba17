package cdc

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

// failure says what an error of Run must be: its text holds text, it needs a
// human or not, and it tells the operator what to do.
type failure struct {
	text  string
	is    error
	human bool
}

func (f failure) check(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), f.text) || audit.Hint(err) == "" {
		t.Errorf("got %v (hint %q), want something with %q and a hint", err, audit.Hint(err), f.text)
	}
	if f.is != nil && !errors.Is(err, f.is) {
		t.Errorf("%v is not %v", err, f.is)
	}
	if errors.Is(err, audit.ErrNeedsHuman) != f.human {
		t.Errorf("%v needs a human: %t, want %t", err, !f.human, f.human)
	}
}

// case26: the second reader is told who holds the slot, and tries again.
func TestCase26SlotInUse(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE s (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE s").start()
	tp.want()
	holder := pg.Value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '" + tp.cfg.Slot + "'")
	second := New(tp.cfg, tp.keys, tp.read.log)
	failure{text: holder, is: ErrSlotInUse}.check(t, second.Run(t.Context(), tp.feeds))
	pg.Exec("INSERT INTO s VALUES (1)")
	tp.want("insert s [1]")
	tp.close()
	tp.read = second
	tp.run()
	tp.want(`message tape "end 1" true`, "insert s [1]", `message tape "end 2" true`)
}

// case19: a slot that is not where we left it, or not there at all.
func TestCase19SlotLost(t *testing.T) {
	tests := map[string]struct {
		harm string
		want failure
	}{
		"dropped":  {"SELECT pg_drop_replication_slot($1)", failure{"does not exist", ErrSlotLost, true}},
		"advanced": {"SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", failure{"beyond", ErrSlotLost, true}},
		"recreated": {"SELECT pg_drop_replication_slot($1), pg_create_logical_replication_slot($1, 'pgoutput')",
			failure{"beyond", ErrSlotLost, true}},
		"physical": {"SELECT pg_drop_replication_slot($1), pg_create_physical_replication_slot($1)",
			failure{"plugin", nil, true}},
		"other plugin": {"SELECT pg_drop_replication_slot($1), pg_create_logical_replication_slot($1, 'test_decoding')",
			failure{"test_decoding", nil, true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pg := harness.Postgres(t)
			pg.Exec("CREATE TABLE s (id int PRIMARY KEY)")
			tp := newTape(t, pg, "TABLE s").start()
			pg.Exec("INSERT INTO s VALUES (1)")
			tp.read.Acknowledge(tp.rewind()[0].EndLSN)
			tp.close()
			pg.Exec("INSERT INTO s VALUES (2)")
			pg.Exec(tt.harm, tp.cfg.Slot)
			tp.run()
			tt.want.check(t, tp.failed())
			_, err := tp.read.Slot(t.Context())
			if lost := errors.Is(err, ErrSlotLost); lost != (name == "dropped") {
				t.Errorf("Slot returns %v", err)
			}
		})
	}
}

// case19: a slot that fell too far behind, on every version.
func TestCase19SlotInvalidated(t *testing.T) {
	for _, v := range harness.PostgresVersions(t) {
		t.Run(v.String(), func(t *testing.T) {
			pg := harness.PostgresServer(t, v.Major, map[string]string{"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"})
			pg.Exec("CREATE TABLE s (id int PRIMARY KEY)")
			tp := newTape(t, pg, "TABLE s")
			for range 4 {
				pg.Exec("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")
				pg.Exec("SELECT pg_switch_wal()")
				pg.Exec("CHECKPOINT")
			}
			tp.eventually("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '"+tp.cfg.Slot+"'", "lost")
			tp.start()
			failure{"", ErrSlotLost, true}.check(t, tp.failed())
		})
	}
}

// Another server, or the same one from an older backup, is not gone on with.
func TestOtherHistory(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE s (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE s").start()
	tp.close()
	tp.read.Acknowledge(1 << 60)
	tp.run()
	failure{"before 10000000/0, which is stored already", nil, true}.check(t, tp.failed())

	tp.cfg.SystemID = "123"
	tp.start()
	failure{"the chain was begun on 123", nil, true}.check(t, tp.failed())

	tp.cfg.SystemID = pg.Value("SELECT system_identifier FROM pg_control_system()")
	tp.start()
	tp.want()
}

// What an operator gets wrong is said in a way that lets him mend it.
func TestConnectFailures(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE s (id int PRIMARY KEY)")
	plain := strings.ToLower(t.Name())
	pg.Exec("CREATE ROLE " + plain + " LOGIN PASSWORD 'secret'")
	t.Cleanup(func() { pg.Exec("DROP ROLE " + plain) })
	tests := map[string]struct {
		change func(*Config)
		want   failure
	}{
		"wrong password": {func(c *Config) { c.DSN = pg.DSNAs("reader", "sesame") }, failure{text: "password authentication failed"}},
		"no such database": {func(c *Config) {
			u, _ := url.Parse(c.DSN)
			u.Path = "/nowhere"
			c.DSN = u.String()
		}, failure{text: "nowhere"}},
		"no right to replicate": {func(c *Config) { c.DSN = pg.DSNAs(plain, "secret") }, failure{text: "42501"}},
		"no such publication":   {func(c *Config) { c.Publication = `it's "gone"` }, failure{`publication "it's \"gone\"" does not exist`, nil, true}},
		"no such slot":          {func(c *Config) { c.Slot = "nowhere" }, failure{"slot nowhere", ErrSlotLost, true}},
		"slot of another database": {func(c *Config) {
			u, _ := url.Parse(c.DSN)
			u.Path = "/postgres"
			c.DSN = u.String()
			c.Publication = "elsewhere"
		}, failure{"belongs to database", nil, true}},
	}
	super := pg.Server.DSN("postgres")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tp := newTape(t, pg, "TABLE s")
			if name == "slot of another database" {
				execAt(t, super, "CREATE PUBLICATION elsewhere")
				defer execAt(t, super, "DROP PUBLICATION elsewhere")
			}
			tt.change(&tp.cfg)
			tp.start()
			tt.want.check(t, tp.failed())
		})
	}
}

func TestUnreachable(t *testing.T) {
	for name, dsn := range map[string]string{"no server": "postgres://u:sesame@127.0.0.1:1/db", "no DSN": ""} {
		cfg := DefaultConfig()
		cfg.DSN, cfg.Slot, cfg.Publication, cfg.ConnectTimeout = dsn, "s", "p", 5*time.Second
		r := New(cfg, fixedKeys{}, testLog(t))
		err := r.Run(t.Context(), nil)
		if err == nil || audit.Hint(err) == "" || errors.Is(err, audit.ErrNeedsHuman) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: got %v, want an error without the password", name, err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

func TestWALLevel(t *testing.T) {
	pg := harness.PostgresServer(t, 0, map[string]string{"wal_level": "replica"})
	cfg := DefaultConfig()
	cfg.DSN, cfg.Slot, cfg.Publication = pg.DSN(), "s", "p"
	err := New(cfg, fixedKeys{}, testLog(t)).Run(t.Context(), nil)
	failure{"wal_level is replica", nil, true}.check(t, err)
}

// A publication that was made after the slot does not exist where the reading
// begins: 14 to 17 say so for ever, 18 would leave everything out.
func TestPublicationAfterSlot(t *testing.T) {
	for _, v := range harness.PostgresVersions(t) {
		t.Run(v.String(), func(t *testing.T) {
			pg := harness.PostgresServer(t, v.Major, nil)
			pg.Exec("CREATE TABLE s (id int PRIMARY KEY)")
			tp := newTape(t, pg, "TABLE s")
			pg.Exec("DROP PUBLICATION " + tp.cfg.Publication)
			pg.Exec("INSERT INTO s VALUES (1)")
			pg.Exec("CREATE PUBLICATION " + tp.cfg.Publication + " FOR TABLE s")
			tp.start()
			failure{"publication", nil, true}.check(t, tp.failed())
		})
	}
}

// Names that need quotes go through.
func TestQuotedPublication(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec(`CREATE SCHEMA "S""x"; CREATE TABLE "S""x"."T'y" ("Id z" int PRIMARY KEY)`)
	tp := newTape(t, pg, `TABLE "S""x"."T'y"`)
	pg.Exec("ALTER PUBLICATION " + tp.cfg.Publication + ` RENAME TO "P, ""q"" \'r"`)
	tp.cfg.Publication = `P, "q" \'r`
	tp.start()
	pg.Exec(`INSERT INTO "S""x"."T'y" VALUES (1)`)
	rel := tp.want("insert T'y [1]")[0].Changes[0].Relation
	if rel.Schema != `S"x` || rel.Columns[0].Name != "Id z" || len(rel.Key) != 1 {
		t.Errorf("got %+v", rel)
	}
	pg.Exec(`DROP PUBLICATION "P, ""q"" \'r"`)
}

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"18.1": true, "14.0": true, "15.3 (Debian 15.3-0+deb12u1)": true, "19beta1": true, "16devel": true, "14": true,
		"13.14": false, "9.6.24": false, "": false, "unknown": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
	if err := checkVersion("13.14"); !errors.Is(err, audit.ErrNeedsHuman) || audit.Hint(err) == "" {
		t.Errorf("13.14: %v", err)
	}
}

// What a DSN says about a pinned setting does not count, in whatever case it
// is written, and a session that is not as asked for is refused.
func TestPinnedSettings(t *testing.T) {
	pg := harness.Postgres(t)
	u, err := url.Parse(pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for k, v := range map[string]string{"datestyle": "German", "TIMEZONE": "Asia/Kolkata", "bytea_output": "escape", "options": "-c IntervalStyle=iso_8601"} {
		q.Set(k, v)
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	conn, _, err := dial(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := checkPinned(t.Context(), conn); err != nil {
		t.Errorf("the DSN got through: %v", err)
	}
	if _, err := ask(t.Context(), conn, "SET TimeZone = 'Asia/Kolkata'", ""); err != nil {
		t.Fatal(err)
	}
	failure{`TimeZone = "Asia/Kolkata" although "UTC"`, nil, true}.check(t, checkPinned(t.Context(), conn))
}
