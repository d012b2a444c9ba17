package cdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

func oidOf(t *testing.T, pg *harness.PG, table string) uint32 {
	t.Helper()
	r := row{columns: map[string]string{"oid": pg.Value("SELECT $1::regclass::oid", table)}}
	oid := uint32(r.number("oid", 0))
	if r.err != nil {
		t.Fatal(r.err)
	}
	return oid
}

func TestCatalog(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec(`CREATE TABLE plain (b int, "Id z" int, a int, PRIMARY KEY (a, "Id z") INCLUDE (b)); CREATE TABLE keyless (id int);
		CREATE TABLE gone (x int PRIMARY KEY); CREATE TABLE later (id int NOT NULL, v int)`)
	tp := newTape(t, pg, "TABLE plain, keyless, gone, later")
	c := NewCatalog(tp.cfg)
	t.Cleanup(func() { c.Close(context.Background()) })
	key := func(id uint32, want ...string) {
		t.Helper()
		got, err := c.Facts(t.Context(), 3, id, "public", "some")
		if err != nil || !slices.Equal(got.Key, want) {
			t.Errorf("got %q, %v, want %q", got.Key, err, want)
		}
	}
	gone, later := oidOf(t, pg, "gone"), oidOf(t, pg, "later")
	key(oidOf(t, pg, "plain"), "a", "Id z")
	key(oidOf(t, pg, "keyless"))
	key(4294967295)
	pg.Exec("DROP TABLE gone")
	key(gone, "x")
	key(later)
	pg.Exec("ALTER TABLE later ADD PRIMARY KEY (id)")
	key(later, "id")
	pg.Exec("ALTER TABLE later DROP CONSTRAINT later_pkey")
	key(later)
	// A connection that was lost in the meantime is not the reader's concern.
	pg.Exec("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'pgwitness' AND datname = current_database()")
	key(oidOf(t, pg, "plain"), "a", "Id z")

	pg.Exec(`CREATE SCHEMA s; CREATE TABLE s.root (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE middle PARTITION OF s.root FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);
		CREATE TABLE leaf PARTITION OF middle FOR VALUES FROM (0) TO (5)`)
	leaf, err := c.Facts(t.Context(), 3, oidOf(t, pg, "leaf"), "public", "leaf")
	if err != nil || leaf.RootSchema != "s" || leaf.RootName != "root" {
		t.Errorf("the partition belongs to %s.%s (%v), want s.root", leaf.RootSchema, leaf.RootName, err)
	}
}

// A table that somebody has locked for hours does not keep the reader from its
// key, nor from those of the others.
func TestCatalogBesideALockedTable(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE rebuilt (id int PRIMARY KEY)")
	tp := newTape(t, pg, "TABLE rebuilt")
	conn := pg.Connect()
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE rebuilt"); err != nil {
		t.Fatal(err)
	}
	c := NewCatalog(tp.cfg)
	t.Cleanup(func() { c.Close(context.Background()) })
	if got, err := c.Facts(t.Context(), 3, oidOf(t, pg, "rebuilt"), "public", "rebuilt"); err != nil || !slices.Equal(got.Key, []string{"id"}) {
		t.Errorf("got %q, %v, want the key id", got.Key, err)
	}
}

// A commit is in the log before others see it. The key of the table that it made
// is waited for, but not for ever.
func TestCatalogBehindACommit(t *testing.T) {
	pg := harness.Postgres(t)
	tp := newTape(t, pg, "ALL TABLES")
	tp.cfg.CatalogTimeout = 400 * time.Millisecond
	c := NewCatalog(tp.cfg)
	t.Cleanup(func() { c.Close(context.Background()) })
	conn := pg.Connect()
	var xid, oid uint32
	if _, err := conn.Exec(t.Context(), "BEGIN; CREATE TABLE young (id int PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT pg_current_xact_id()::xid, 'young'::regclass::oid").Scan(&xid, &oid); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Facts(t.Context(), xid, oid, "public", "young"); err != nil || got.Key != nil {
		t.Errorf("not visible for long: got %q, %v, want no key and no error", got.Key, err)
	}
	const asked = "SELECT max(query_start) FROM pg_stat_activity WHERE application_name = 'pgwitness' AND datname = current_database()"
	before := pg.Value(asked)
	c.line.timeout = time.Minute
	done := make(chan error, 1)
	go func() {
		got, err := c.Facts(t.Context(), xid, oid, "public", "young")
		if err == nil && !slices.Equal(got.Key, []string{"id"}) {
			err = fmt.Errorf("got %q, want the key id", got.Key)
		}
		done <- err
	}()
	for limit := time.Now().Add(patience); pg.Value(asked) == before && time.Now().Before(limit); {
	}
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A server that accepts connections and then says nothing holds nobody up.
func TestCatalogTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := DefaultConfig()
	cfg.DSN, cfg.CatalogTimeout = "postgres://u:sesame@"+l.Addr().String()+"/db?sslmode=disable", 100*time.Millisecond
	begun := time.Now()
	_, err = NewCatalog(cfg).Facts(t.Context(), 3, 1, "public", "t")
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("got %v, want that the time is over", err)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("it took %s", took)
	}
}
