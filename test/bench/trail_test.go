package bench

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/ClickHouse/ch-go"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

// trailBatch is the number of entries that are stored at a time.
const trailBatch = 40_000

// storeTrail seals n entries and stores them by the product's own chain and
// sink, without a database that they were changes of. The parts are merged in
// the end, as those of every trail are that is more than minutes old.
func storeTrail(t testing.TB, db *harness.CH, stream string, n int, fill func(n uint64, e *audit.Entry)) {
	t.Helper()
	config := store.DefaultConfig()
	config.DSN, config.Database = db.Server.DSN("sink", ""), db.Database
	server, err := config.Writer()
	if err != nil {
		t.Fatal(err)
	}
	k := sink.New(server, sink.DefaultConfig(), stream, zerolog.Nop())
	defer k.Close()
	g := store.Genesis{Stream: stream, SystemID: "7500000000000000001", Timeline: 1, Database: stream, Slot: benched, Publication: benched, CreatedAt: 1767323045000006}
	if err := k.CreateGenesis(t.Context(), g, ""); err != nil {
		t.Fatal(err)
	}
	beginning := chain.Genesis{Stream: g.Stream, SystemID: g.SystemID, Timeline: g.Timeline, Database: g.Database, Slot: g.Slot, Publication: g.Publication, CreatedAt: g.CreatedAt}
	head, sealer := beginning.Head(), chain.New([32]byte{1}, 0)
	entries := make([]audit.Entry, trailBatch)
	for at := 0; at < n; at += trailBatch {
		part := entries[:min(trailBatch, n-at)]
		for i := range part {
			e := audit.Entry{Stream: stream, DBUser: audit.T("shop"), ApplicationName: audit.T("storefront 4.2"), SchemaName: audit.T("public")}
			fill(uint64(at+i), &e)
			e.ID = audit.EntryID(stream, e.Timestamp, e.Position())
			part[i] = e
		}
		sealed := sealer.Seal(head, part)
		batch, err := k.Prepare(part)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Insert(t.Context(), head, batch); err != nil {
			t.Fatal(err)
		}
		head = sealed
	}
	merge(t, db)
}

// merge makes one part of all, with its projections; of millions of entries that
// takes longer than a helper of the harness waits.
func merge(t testing.TB, db *harness.CH) {
	t.Helper()
	server, err := store.Parse(db.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	client, err := server.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := store.Do(t.Context(), client, ch.Query{Body: "OPTIMIZE TABLE audit_logs FINAL"}); err != nil {
		t.Fatalf("merge the trail: %v", err)
	}
}

// place puts entry n into transactions of size entries, some time apart.
func place(e *audit.Entry, n, size uint64, apart int64) {
	tx := n / size
	e.Timestamp = 1767323045123456 + int64(tx)*apart
	e.XID, e.CommitLSN, e.Ordinal = uint32(700+tx), audit.LSN(0x2000000+tx*0x400*size), uint32(n%size)
}

// wideInsert is a row of the table wide of the pipeline, 1,000 in a transaction.
func wideInsert(n uint64, e *audit.Entry) {
	place(e, n, 1000, 50_000)
	digest := audit.EntryID("note", int64(n), e.Position()).String() + audit.EntryID("more", int64(n), e.Position()).String()
	e.ActorID, e.ActorType, e.IPAddress = audit.T("db:shop"), audit.T("unknown"), audit.T("127.0.0.1")
	e.Attribution = audit.T(`{"actor_id":"observed","actor_type":"observed","ip_address":"observed","observed":{"pid":"4711"}}`)
	e.ResourceType, e.TableName, e.Action, e.Operation = audit.T("wide"), audit.T("wide"), audit.T("create"), audit.T("insert")
	e.ResourceID = strconv.AppendUint(nil, n, 10)
	e.NewValues = fmt.Appendf(nil, `{"id":%d,"customer":%d,"status":"paid","channel":"web","total":"%d.%02d","currency":"EUR","paid":%t,`+
		`"placed_at":"2026-01-02 03:04:05.123456+00","updated_at":"2026-01-02 03:04:05.123456+00",`+
		`"address":"{\"zip\": %d, \"city\": \"Springfield\", \"street\": \"Long Street %d\"}","tags":"{gift,express}","note":"to be delivered to the neighbour, %s"}`,
		n, n%20_000, n%1000, n%100, n%3 == 0, n%90_000, n%300, digest[:64])
}

// shopUpdate is what a clerk does to an order, three rows in a transaction, with
// all that can be known of him.
func shopUpdate(n uint64, e *audit.Entry) {
	place(e, n, 3, 150_000)
	tx, who := n/3, n/3*7919%400
	e.ActorID, e.ActorEmail = fmt.Appendf(nil, "user:%d", who), fmt.Appendf(nil, "clerk%d@example.com", who)
	e.ActorRole, e.ActorType, e.Source = audit.T("clerk"), audit.T("human"), audit.T("admin panel")
	e.IPAddress, e.UserAgent = fmt.Appendf(nil, "203.0.113.%d", who%250), audit.T("Mozilla/5.0 (X11; Linux x86_64) Firefox/147.0")
	e.GeoCountry, e.GeoCity, e.GeoLat, e.GeoLon = audit.T("DE"), fmt.Appendf(nil, "City %d", who%40), fmt.Appendf(nil, "52.%d", who%40), fmt.Appendf(nil, "13.%d", who%40)
	e.RequestID = fmt.Appendf(nil, "req-%016x", tx*0x9e3779b97f4a7c15)
	e.Attribution = audit.T(`{"actor_id":"session","actor_email":"session","actor_role":"session","actor_type":"session","ip_address":"session","source":"session"}`)
	e.ResourceType, e.TableName, e.Action, e.Operation = audit.T("order"), audit.T("orders"), audit.T("update"), audit.T("update")
	e.ResourceID, e.Changed = strconv.AppendUint(nil, tx*31%200_000, 10), []string{"status", "updated_at"}
	e.OldValues = fmt.Appendf(nil, `{"id":%s,"status":"pending","updated_at":"2026-01-02 03:%02d:05.123456+00"}`, e.ResourceID, tx%60)
	e.NewValues = fmt.Appendf(nil, `{"id":%s,"status":"approved","updated_at":"2026-01-03 07:%02d:15.654321+00"}`, e.ResourceID, tx%60)
}
