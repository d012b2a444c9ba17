package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sql"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

const testStream = "shop"

func TestMain(m *testing.M) { harness.Main(m) }

// testGenesis is the beginning of all test trails.
func testGenesis() store.Genesis {
	return store.Genesis{
		Stream: testStream, SystemID: "7500000000000000001", Timeline: 1, Database: "shop", Slot: "pgwitness_shop", Publication: "pgwitness_shop",
		LogPublicKey: slices.Repeat([]byte{7}, 32), Random: [32]byte{1, 2, 3}, CreatedAt: 1767323045000006,
	}
}

// start is the commit time of the first entry: a trail of some thousand
// entries crosses the end of the month.
func start() int64 { return time.Date(2026, 1, 31, 23, 30, 0, 0, time.UTC).UnixMicro() }

// makeEntry makes the entry of a sequence, every column filled. Transactions
// are of three changes and a second apart.
func makeEntry(sequence uint64) audit.Entry {
	tx := sequence / 3
	e := audit.Entry{
		Stream: testStream, Sequence: sequence, Timestamp: start() + int64(tx)*1_000_000,
		ActorID: audit.T(fmt.Sprintf("user:%d", tx%17)), ActorEmail: audit.T("clerk@example.com"), ActorRole: audit.T("clerk"), ActorType: audit.T("human"),
		ResourceType: audit.T("order"), ResourceID: audit.T(fmt.Sprint(tx % 1000)), Action: audit.T("update"),
		OldValues: audit.T(fmt.Sprintf(`{"id":%d,"status":"pending","total":"%d.50"}`, tx%1000, sequence)),
		NewValues: audit.T(fmt.Sprintf(`{"id":%d,"status":"approved","total":"%d.00"}`, tx%1000, sequence)), Changed: []string{"status", "total"},
		Source: audit.T("admin panel"), IPAddress: audit.T("203.0.113.7"), UserAgent: audit.T("Mozilla/5.0"),
		GeoCountry: audit.T("DE"), GeoCity: audit.T("München"), GeoLat: audit.T("48.1"), GeoLon: audit.T("11.5"),
		ReasonCode: audit.T("OK"), ReasonNote: reasonNote(sequence),
		Attribution: audit.T(`{"actor_id":"session","ip_address":"observed"}`), RequestID: audit.T(fmt.Sprintf("req-%08x", tx)), TraceID: audit.T("4bf92f35"),
		APIKeyID: audit.T("key-7"), DBUser: audit.T("app"), ApplicationName: audit.T("admin 2.3"),
		SchemaName: audit.T("public"), TableName: audit.T("orders"), Operation: audit.T("update"),
		XID: uint32(700 + tx), CommitLSN: audit.LSN(0x1000000 + tx*0x100), Ordinal: uint32(sequence % 3),
		Salt: audit.Salt(sha256.New().Sum([]byte(fmt.Sprintf("%016d", sequence)))[:16]),
	}
	e.ID = audit.EntryID(e.Stream, e.Timestamp, e.Position())
	return e
}

// reasonNote is NULL for every tenth entry and empty for the one before it.
func reasonNote(sequence uint64) audit.Text {
	switch sequence % 10 {
	case 9:
		return nil
	case 8:
		return audit.T("")
	}
	return audit.T("as agreed")
}

// makeTrail makes a sealed trail of n entries.
func makeTrail(n int) []audit.Entry {
	entries := make([]audit.Entry, n)
	for i := range entries {
		entries[i] = makeEntry(uint64(i))
	}
	g := testGenesis()
	reseal(entries, genesisHash(&g))
	return entries
}

// reseal links entries behind prev.
func reseal(entries []audit.Entry, prev audit.Hash) {
	var preimage []byte
	for i := range entries {
		e := &entries[i]
		preimage = audit.AppendPreimage(preimage[:0], e)
		e.PrevHash = prev
		e.Hash = link(prev, sha256.Sum256(preimage))
		prev = e.Hash
	}
}

// archive is a trail in memory, such as a file would give it.
type archive struct {
	genesis audit.Hash
	entries []audit.Entry // in order of sequence
}

func newArchive(entries []audit.Entry) *archive {
	g := testGenesis()
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b audit.Entry) int { return int(a.Sequence) - int(b.Sequence) })
	return &archive{genesisHash(&g), entries}
}

func (a *archive) Genesis(context.Context, string) (hash audit.Hash, rows uint64, err error) {
	return a.genesis, 1, nil
}

func (a *archive) Extent(context.Context, string) (rows, last uint64, err error) {
	if len(a.entries) == 0 {
		return 0, 0, nil
	}
	return uint64(len(a.entries)), a.entries[len(a.entries)-1].Sequence, nil
}

// archiveBlock is the number of entries that an archive gives at a time: few, so
// that whatever a test does lies on the border of two blocks now and then.
const archiveBlock = 11

func (a *archive) Read(_ context.Context, _ string, from, to uint64, use func(*store.Columns) error) error {
	i, _ := slices.BinarySearchFunc(a.entries, from, func(e audit.Entry, s uint64) int { return cmp.Compare(e.Sequence, s) })
	block := store.NewColumns()
	for i < len(a.entries) && a.entries[i].Sequence <= to {
		block.Reset()
		for ; block.Rows() < archiveBlock && i < len(a.entries) && a.entries[i].Sequence <= to; i++ {
			block.Append(&a.entries[i])
		}
		if err := use(block); err != nil {
			return err
		}
	}
	return nil
}

// database is a trail in ClickHouse.
type database struct {
	t      testing.TB
	ch     *harness.CH
	server store.Server
	admin  driver.Conn
}

// newDatabase makes the tables as setup does.
func newDatabase(t testing.TB) *database {
	t.Helper()
	db := &database{t: t, ch: harness.ClickHouse(t)}
	var err error
	if db.server, err = store.Parse(db.ch.AdminDSN()); err != nil {
		t.Fatal(err)
	}
	if db.admin, err = db.server.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.admin.Close(); err != nil {
			t.Error(err)
		}
	})
	db.createTables()
	return db
}

func (db *database) createTables() {
	db.t.Helper()
	steps, err := fs.Glob(sql.ClickHouse, "clickhouse/migrations/*.sql")
	if err != nil || len(steps) == 0 {
		db.t.Fatal("no migrations", err)
	}
	for _, step := range steps {
		statement, err := fs.ReadFile(sql.ClickHouse, step)
		if err != nil {
			db.t.Fatal(err)
		}
		up, _, _ := strings.Cut(string(statement), "-- +goose Down")
		for one := range strings.SplitSeq(strings.TrimSuffix(up, ";\n"), ";\n") {
			db.exec(one)
		}
	}
}

// exec runs a statement as an administrator of ClickHouse could.
func (db *database) exec(statement string, args ...any) {
	db.t.Helper()
	if err := db.admin.Exec(db.t.Context(), statement, args...); err != nil {
		db.t.Fatalf("%v in\n%s", err, statement)
	}
}

// store writes a trail as the sidecar does: blocks that do not cross a month.
func (db *database) store(entries []audit.Entry) {
	db.t.Helper()
	db.insert(testGenesis())
	block := store.NewColumns()
	month := func(e *audit.Entry) time.Month { return time.UnixMicro(e.Timestamp).UTC().Month() }
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && n < 100_000 && month(&entries[n]) == month(&entries[0]) {
			n++
		}
		block.Reset()
		for i := range n {
			block.Append(&entries[i])
		}
		db.send(ch.Query{Body: block.Input().Into("audit_logs"), Input: block.Input()})
		entries = entries[n:]
	}
}

func (db *database) insert(g store.Genesis) {
	db.t.Helper()
	in := store.GenesisInput(g, "")
	db.send(ch.Query{Body: in.Into("genesis"), Input: in})
}

func (db *database) send(q ch.Query) {
	db.t.Helper()
	client, err := db.server.Dial(db.t.Context())
	if err != nil {
		db.t.Fatal(err)
	}
	defer client.Close()
	if err := client.Do(db.t.Context(), q); err != nil {
		db.t.Fatal(err)
	}
}

// source is the trail as an auditor reads it.
func (db *database) source() *ClickHouse { return FromClickHouse(db.server) }

// verifyTrail verifies with segments of a given size, 0 for what a user gets.
func verifyTrail(t testing.TB, src source, o Options, segment uint64) Report {
	t.Helper()
	v := New(src, zerolog.Nop())
	v.segment = segment
	o.Stream = testStream
	report, err := v.Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// faults lists the findings of a report, one word group each: the verdict, the
// kind, the sequences.
func faults(r Report) []string {
	var all []string
	for _, v := range r.Verdicts {
		for _, f := range v.Findings {
			all = append(all, fmt.Sprintf("%s %s %s", v.Name, f.Kind, f.sequences()))
		}
	}
	return all
}

// sqlFile runs a file of sql/verify and returns its only row as JSON, counts
// and lists in the order of its columns, without spaces.
func (db *database) sqlFile(name string) string {
	db.t.Helper()
	text, err := fs.ReadFile(sql.Verify, "verify/"+name)
	if err != nil {
		db.t.Fatal(err)
	}
	ctx := clickhouse.Context(db.t.Context(), clickhouse.WithParameters(clickhouse.Parameters{"stream": testStream}))
	var row string
	if err := db.admin.QueryRow(ctx, "SELECT formatRow('JSONCompactEachRow', *) FROM (\n"+string(text)+"\n)").Scan(&row); err != nil {
		db.t.Fatalf("%s: %v", name, err)
	}
	return strings.ReplaceAll(strings.TrimSpace(row), " ", "")
}
