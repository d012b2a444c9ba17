package test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness"
)

// crossCheckLimit is how long verify may take with everything that it can do.
const crossCheckLimit = 10 * time.Minute

// place is a table in a transaction.
type place struct {
	xid   uint32
	table string
}

// judgement is the outcome of the torture.
type judgement struct {
	report       pgwitness.Report
	transactions int // of the load, committed
	found        int // of those, committed although no client knew it
	changes      int64
	losses       int64
	duplicates   int64
	misnamed     int64 // changes credited to another actor
	tenures      string
	caughtUp     time.Duration // after the load ended
	lasted       time.Duration
}

// judge compares what was committed with what is stored.
func (b *bench) judge() {
	j := judgement{lasted: time.Since(b.begun)}
	settle(b.t, b.pg, "0s")
	begun := time.Now()
	b.direct.sync(5 * time.Minute)
	j.caughtUp = time.Since(begun)
	j.found = b.ledger.keep(b.t, b.pg)
	b.compare(&j)
	checkCensus(b.t, b.direct, b.census)
	b.direct.foldEqualsTables(append(auditedTables(b.t, b.pg), "torture_pulse")...)
	j.report = b.direct.declares()
	b.crossChecks()
	j.tenures = b.direct.query("SELECT count() FROM audit_logs WHERE action = 'start'")
	for _, s := range b.sidecars {
		s.stop()
		b.spooled += strings.Count(s.log.String(), `"message":"spooling begins"`)
	}
	text := b.text(&j, b.faults())
	b.t.Log("\n" + text)
	if path := os.Getenv(tortureReport); path != "" && !b.t.Failed() {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.t.Error(err)
		}
	}
}

// crossChecks runs what an operator would run after such a night. It must end,
// too.
func (b *bench) crossChecks() {
	c := b.direct.command("verify", "--continuity", "--reconcile")
	limit := time.AfterFunc(crossCheckLimit, func() { _ = c.Process.Signal(syscall.SIGQUIT) }) // it tells where it hangs
	defer limit.Stop()
	if out, err := c.CombinedOutput(); err != nil {
		b.t.Errorf("verify --continuity --reconcile: %v\n%s", err, out)
	}
}

// compare holds the entries of the load's tables against its ledger,
// transaction by transaction.
func (b *bench) compare(j *judgement) {
	want, kinds := b.committed(j)
	got := b.entries(kinds, j)
	for at, w := range want {
		g := got[at]
		for _, n := range []int64{w.ins - g.ins, w.upd - g.upd, w.del - g.del, w.trunc - g.trunc} {
			j.losses += max(0, n)
			j.duplicates += max(0, -n)
		}
		j.changes += w.ins + w.upd + w.del + w.trunc
		if w != g && j.losses+j.duplicates < 100 {
			b.t.Errorf("transaction %d (%s), %s: committed %+v, stored %+v", at.xid, kinds[at.xid], at.table, w, g)
		}
		delete(got, at)
	}
	for at, g := range got {
		j.duplicates += g.ins + g.upd + g.del + g.trunc
		b.t.Errorf("transaction %d, %s: stored %+v, and it was not committed", at.xid, at.table, g)
	}
	if j.losses+j.duplicates+j.misnamed > 0 {
		b.t.Errorf("%d losses, %d duplicates, %d changes of another actor", j.losses, j.duplicates, j.misnamed)
	}
}

// committed reads the ledger: what each transaction changed, and its kind.
func (b *bench) committed(j *judgement) (map[place]count, map[uint32]string) {
	conn := b.pg.Connect()
	rows, err := conn.Query(context.Background(), "SELECT xid, kind, tbl, ins, upd, del, trunc FROM truth.ledger")
	if err != nil {
		b.t.Fatal(err)
	}
	want, kinds := make(map[place]count), make(map[uint32]string)
	var at place
	var kind string
	var c count
	var xid int64
	_, err = pgx.ForEachRow(rows, []any{&xid, &kind, &at.table, &c.ins, &c.upd, &c.del, &c.trunc}, func() error {
		at.xid = uint32(xid)
		want[at], kinds[at.xid] = c, kind
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	j.transactions = len(kinds)
	return want, kinds
}

// entries reads what is stored of the load's tables.
func (b *bench) entries(kinds map[uint32]string, j *judgement) map[place]count {
	query := fmt.Sprintf(`SELECT xid, assumeNotNull(table_name), toInt64(countIf(operation = 'insert')), toInt64(countIf(operation = 'update')),
		toInt64(countIf(operation = 'delete')), toInt64(countIf(operation = 'truncate')), groupUniqArray(ifNull(actor_id, ''))
		FROM %s.audit_logs WHERE table_name IN ('%s') GROUP BY xid, table_name`, b.ch.Database, strings.Join(tortureTableNames(), "', '"))
	rows, err := b.reader.Query(context.Background(), query)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	got := make(map[place]count)
	for rows.Next() {
		var at place
		var c count
		var actors []string
		if err := rows.Scan(&at.xid, &at.table, &c.ins, &c.upd, &c.del, &c.trunc, &actors); err != nil {
			b.t.Fatal(err)
		}
		got[at] = c
		if len(actors) != 1 || actors[0] != kinds[at.xid] {
			j.misnamed++
		}
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return got
}

// text is the report. It says nothing about the machine, so that two runs can
// be compared.
func (b *bench) text(j *judgement, total int) string {
	var s strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	slices.Sort(b.recoveries)
	p("# Torture\n\nWritten by `make torture`. Two sidecars of one stream, PostgreSQL %s and ClickHouse on servers of their own, a mixed load, and faults at random, up to three", b.pg.Server.Version())
	p("at a time. At the end everything that was committed is compared with everything that is stored.\n")
	p("| | |\n|---|---|")
	p("| duration | %s |", j.lasted.Round(time.Second))
	p("| faults | %d, in %d rounds |", total, b.rounds)
	p("| entries in the trail | %d |", j.report.Size)
	p("| transactions of the load, committed | %d, with %d changes in %d tables; besides those of the demo shop |", j.transactions, j.changes, len(tortureTableNames()))
	p("| of those, unknown to their client until looked up | %d |", j.found)
	p("| **losses** | **%d** |\n| **duplicates** | **%d** |", j.losses, j.duplicates)
	p("| transactions credited to another actor | %d |", j.misnamed)
	p("| gaps, declared or not | %d |", len(j.report.Gaps))
	p("| fold of the entries = table | %d tables |", len(auditedTables(b.t, b.pg)))
	p("| `verify --continuity --reconcile`, whole chain | holds |")
	p("| sidecars that took the stream | %s |", j.tenures)
	p("| times that the spool was begun | %d |", b.spooled)
	if n := len(b.recoveries); n > 0 {
		p("| from the end of the faults until up to date | %s at most, %s in the middle of %d rounds |",
			b.recoveries[n-1].Round(10*time.Millisecond), b.recoveries[n/2].Round(10*time.Millisecond), n)
		p("| the slowest was after | %s |", b.worst)
	}
	p("| up to date after the load ended | %s |", j.caughtUp.Round(10*time.Millisecond))
	p("| system | %s, race detector on |\n", runtime.GOOS)
	p("## Faults\n\n| victim | fault | times |\n|---|---|---|")
	for _, name := range slices.Sorted(maps.Keys(b.done)) {
		victim, fault, _ := strings.Cut(name, ": ")
		p("| %s | %s | %d |", victim, fault, b.done[name])
	}
	for _, f := range faults() {
		if f.needs != nil && !f.needs(b) {
			p("| %s | %s | not possible without the right to mount |", f.victim, f.name)
		}
	}
	p("\n## Load\n\nWhat the clients were told. An unknown outcome is one whose answer was lost, or was no promise (`synchronous_commit = off`).\n")
	p("| transactions | committed | rolled back | unknown |\n|---|---|---|---|")
	for _, kind := range slices.Sorted(maps.Keys(b.ledger.kinds)) {
		n := b.ledger.kinds[kind]
		p("| %s | %d | %d | %d |", kind, n[committed], n[rolledBack], n[unknown])
	}
	tally := b.shop.Tally()
	p("| demo shop | %d | %d | %d |", tally.Committed, tally.RolledBack, tally.Unknown)
	return s.String()
}
