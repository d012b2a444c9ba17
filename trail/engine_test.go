package trail

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sql"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// book is a trail on the real engine, and the pen that writes it: entries get
// the next sequence, and a second later than the one before.
type book struct {
	*Trail
	t       testing.TB
	server  store.Server
	columns *store.Columns
	next    uint64
}

// began is the time of the first entry of a book.
const began = 1795423267000000

func newBook(t testing.TB) *book {
	t.Helper()
	db := harness.ClickHouse(t)
	admin, err := store.Parse(db.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := admin.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, file := range []string{"0001_audit_logs", "0010_questions"} {
		ddl, err := sql.ClickHouse.ReadFile("clickhouse/migrations/" + file + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		for statement := range strings.SplitSeq(strings.TrimSuffix(string(ddl), ";\n"), ";\n") {
			if err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	reader, err := store.Parse(db.DSN("reader"))
	if err != nil {
		t.Fatal(err)
	}
	return &book{Trail: New(reader), t: t, server: admin, columns: store.NewColumns()}
}

// write appends entries, in order, as the chain would.
func (b *book) write(entries ...audit.Entry) {
	b.t.Helper()
	for _, e := range entries {
		e.Stream, e.Sequence, e.Timestamp = "shop", b.next, began+int64(b.next)*1_000_000
		b.next++
		b.columns.Append(&e)
	}
	b.send()
}

// send inserts what was appended.
func (b *book) send() {
	b.t.Helper()
	client, err := b.server.Dial(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	input := b.columns.Input()
	if err := client.Do(context.Background(), ch.Query{Body: input.Into("audit_logs"), Input: input}); err != nil {
		b.t.Fatal(err)
	}
	b.columns.Reset()
}

// at is the moment of an entry.
func second(sequence int) time.Time { return time.UnixMicro(began + int64(sequence)*1_000_000) }

// sequences asks for entries and returns their numbers.
func (b *book) sequences(f Filter) []uint64 {
	b.t.Helper()
	var got []uint64
	for e, err := range b.Entries(b.t.Context(), f) {
		if err != nil {
			b.t.Fatal(err)
		}
		got = append(got, e.Sequence)
	}
	return got
}
