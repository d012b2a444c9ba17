package store_test

import (
	"context"
	"testing"

	"github.com/ClickHouse/ch-go"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sql"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// trail is an empty audit_logs on the real engine.
type trail struct {
	*harness.CH
	t      testing.TB
	server store.Server
}

func newTrail(t testing.TB) *trail {
	t.Helper()
	return trailOn(t, harness.ClickHouse(t))
}

func trailOn(t testing.TB, db *harness.CH) *trail {
	t.Helper()
	server, err := store.Parse(db.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"0001_audit_logs", "0002_genesis"} {
		ddl, err := sql.ClickHouse.ReadFile("clickhouse/migrations/" + file + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := server.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Exec(t.Context(), string(ddl)); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return &trail{db, t, server}
}

func (tr *trail) dial() *ch.Client {
	tr.t.Helper()
	client, err := tr.server.Dial(tr.t.Context())
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() {
		if !client.IsClosed() {
			_ = client.Close()
		}
	})
	return client
}

func (tr *trail) insert(entries ...audit.Entry) {
	tr.t.Helper()
	columns := store.NewColumns()
	for i := range entries {
		columns.Append(&entries[i])
	}
	tr.send(columns)
}

func (tr *trail) send(columns *store.Columns) {
	tr.t.Helper()
	input := columns.Input()
	err := tr.dial().Do(context.Background(), ch.Query{Body: input.Into("audit_logs"), Input: input})
	if err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *trail) read(query string) []audit.Entry {
	tr.t.Helper()
	var got []audit.Entry
	for e, err := range store.Entries(context.Background(), tr.dial(), query) {
		if err != nil {
			tr.t.Fatal(err)
		}
		got = append(got, store.Clone(e))
	}
	return got
}
