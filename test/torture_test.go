package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/demo"
	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/test/network"
)

// What `make torture` sets. Without them the torture is short: every kind of
// fault once.
const (
	tortureTime   = "PGWITNESS_TORTURE"        // how long, such as 10m
	tortureSeed   = "PGWITNESS_TORTURE_SEED"   // of the random numbers; default: another one each time
	tortureReport = "PGWITNESS_TORTURE_REPORT" // file for the report
)

const (
	// manyFaults is what a torture of manyAfter must bring: a slow machine takes
	// longer for it.
	manyFaults = 300
	manyAfter  = 10 * time.Minute
	// recoveryLimit is how long a stream may take to be up to date after the
	// last fault of a round is mended.
	recoveryLimit = 90 * time.Second
	// brakeAfter is when the load slows down, so that a slow machine is behind
	// because of faults, and not because it is slow.
	brakeAfter = 5 * time.Second
	// chReserve is what ClickHouse keeps free of its small disk.
	chReserve = 1 << 30
)

// bench is the torture: two sidecars of one stream, real servers, networks that
// fail, and a load that keeps books.
type bench struct {
	t         testing.TB
	pg        *harness.PG
	ch        *harness.CH
	direct    *sidecar   // never runs: leads to the servers without the networks between
	sidecars  []*sidecar // two, of which one is the standby
	networks  map[string]*network.Proxy
	chDisk    string // file systems of their own, small; "" where none can be mounted
	stateDisk string
	reader    driver.Conn
	admin     driver.Conn
	ledger    *ledger
	census    *demo.Census
	shop      *demo.Shop
	load      *load

	random *rand.Rand
	seed   uint64
	long   time.Duration // of a long outage
	brief  time.Duration // longest of all others

	begun      time.Time
	done       map[string]int // faults, by victim and name
	spooled    int            // times that the spool was begun
	rounds     int
	recoveries []time.Duration
	worst      string // faults before the slowest recovery
}

// Cases 18, 24, 25, 26, 28: under a mixed load, whatever is killed, stopped,
// cut off or filled up, the entries are exactly the committed changes, once
// each, in order, by whom they were made; the fold is the tables; the chain
// holds and declares no gap.
func TestTorture(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	duration, err := time.ParseDuration(os.Getenv(tortureTime))
	if err != nil {
		duration = 0
		b.long, b.brief = 4*time.Second, 600*time.Millisecond
	}
	t.Logf("seed %d: %s=%d makes the same choices again", b.seed, tortureSeed, b.seed)
	b.torment(duration)
	b.judge()
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, networks: make(map[string]*network.Proxy), ledger: newLedger(), done: make(map[string]int), long: 20 * time.Second, brief: 1500 * time.Millisecond}
	b.seed, _ = strconv.ParseUint(os.Getenv(tortureSeed), 10, 64)
	if b.seed == 0 {
		b.seed = uint64(time.Now().UnixNano())
	}
	b.random = rand.New(rand.NewPCG(b.seed, 0))
	b.chDisk, b.stateDisk = smallDisk(t, "2500m"), smallDisk(t, "24m")
	b.pg = harness.PostgresServer(t, 0, map[string]string{
		"wal_sender_timeout": "4s", "max_prepared_transactions": "100", "checkpoint_timeout": "30s", "max_wal_size": "256MB",
	})
	b.ch = harness.ClickHouseServer(t, func(c *engine.ClickHouseConfig) {
		if b.chDisk != "" {
			c.Dir, c.KeepFree = b.chDisk, chReserve
		}
	})
	b.shop = newShop(t, b.pg, func(c *demo.Config) { // at a pace that leaves the machine room for faults
		c.Seed, c.Rate, c.HeroPause, c.NightEvery = b.seed, 25, time.Second, 1500
		c.Patience, c.DeedTimeout = 2*time.Minute, time.Minute
	})
	b.load = &load{dsn: b.pg.DSN(), ledger: b.ledger, pause: 100 * time.Millisecond}
	b.pg.Exec(tortureTables)
	b.pg.Exec(ledgerSchema)
	b.direct = newSidecar(t, b.pg, b.ch, b.configuration())
	b.sidecars = b.behindNetworks()
	b.census = openCensus(t, b.pg)
	b.reader, b.admin = b.ch.Connect("reader"), b.ch.Connect(engine.Admin)
	b.ch.Exec("CREATE TABLE " + b.ch.Database + ".torture_room (n UInt8) ENGINE = MergeTree ORDER BY n")
	return b
}

// configuration is the shop's, with the tables of the load, and less patience
// than the defaults have, so that ten minutes are enough for many faults.
func (b *bench) configuration() string {
	text := strings.Replace(shopConfig(), "    tables:\n", "    heartbeat_interval: 1s\n    watch_interval: 1s\n"+
		"    tables:\n      - {name: public.torture_*}\n      - {name: public.pgbench_*}\n", 1)
	text = strings.Replace(text, "      dsn: \"${SHOP_DSN}\"\n", "      dsn: \"${SHOP_DSN}\"\n"+
		"      silence_timeout: 3s\n      status_interval: 1s\n      connect_timeout: 3s\n      catalog_timeout: 3s\n      feed_changes: 2000\n", 1)
	return text + "\nsink: {insert_timeout: 4s, stall_timeout: 3s, fence_wait: 2s, max_backoff: 1s}\n" +
		"batch: {window: 200ms, bytes: 1048576}\nspool: {max_retained_wal: 4194304, max_bytes: 33554432, segment_bytes: 1048576}\n"
}

// behindNetworks are two sidecars whose connections lead through proxies.
func (b *bench) behindNetworks() []*sidecar {
	text, err := os.ReadFile(b.direct.file)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.stateDisk != "" {
		text = []byte(strings.Replace(string(text), b.direct.cfg.StateDir, b.stateDisk, 1))
		if err := os.WriteFile(b.direct.file, text, 0o600); err != nil {
			b.t.Fatal(err)
		}
		b.direct.cfg.StateDir = b.stateDisk
	}
	b.networks[thePGNetwork] = network.New(b.t, network.Host(b.t, b.pg.DSN()))
	b.networks[theCHNetwork] = network.New(b.t, network.Host(b.t, b.ch.DSN("sink")))
	changed := string(text)
	for _, p := range b.networks {
		changed = p.Through(changed)
	}
	one := b.direct.second()
	one.file = b.direct.file + ".networks.yaml"
	if err := os.WriteFile(one.file, []byte(changed), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return []*sidecar{one, one.second()}
}

// torment lets the load run and does one round of faults after the other: every
// kind once, and then whatever comes, until the time is over.
func (b *bench) torment(duration time.Duration) {
	b.sidecars[0].start()
	b.sidecars[0].says(takeover, time.Minute)
	b.sidecars[1].start()
	if err := b.load.seed(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if err := b.shop.Seed(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	open, stop := context.WithCancel(b.t.Context())
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return b.shop.Run(open) })
	g.Go(func() error { return b.load.run(open, 5, b.seed) })

	b.begun = time.Now()
	planned := faults()
	b.random.Shuffle(len(planned), func(i, j int) { planned[i], planned[j] = planned[j], planned[i] })
	for time.Since(b.begun) < duration || len(planned) > 0 || duration >= manyAfter && b.faults() < manyFaults {
		planned = b.round(planned)
	}
	stop()
	if err := g.Wait(); err != nil {
		b.t.Error(err)
	}
}

// round does up to three faults at once, and then mostly waits until the stream
// is up to date again; sometimes the next faults meet it before.
func (b *bench) round(planned []fault) (rest []fault) {
	n := 1 + b.random.IntN(3)
	chosen := b.pick(&planned, n)
	var g errgroup.Group
	var names []string
	for _, f := range chosen {
		lasts := 50*time.Millisecond + time.Duration(b.random.Int64N(int64(b.brief)))
		names = append(names, f.victim+": "+f.name)
		g.Go(func() error { f.do(b, lasts); return nil })
	}
	_ = g.Wait() // they report to the test
	b.rounds++
	for _, name := range names {
		b.done[name]++
	}
	settle(b.t, b.pg, "3s")
	for _, s := range b.sidecars {
		if s.ended() {
			b.t.Fatalf("the sidecar ended by itself after %q\n%s", names, s.tail())
		}
	}
	if len(planned) == 0 && b.random.IntN(4) == 0 {
		return nil
	}
	took := b.recovers(names)
	if len(b.recoveries) == 0 || took > slices.Max(b.recoveries) {
		b.worst = strings.Join(names, " + ")
	}
	b.recoveries = append(b.recoveries, took)
	if b.t.Failed() {
		b.t.FailNow()
	}
	return planned
}

// faults is how many there were.
func (b *bench) faults() (n int) {
	for _, times := range b.done {
		n += times
	}
	return n
}

// pick takes n faults of different victims: planned ones first.
func (b *bench) pick(planned *[]fault, n int) (chosen []fault) {
	hit := make(map[string]bool)
	take := func(f fault) bool {
		if len(chosen) == n || hit[f.victim] || f.also != "" && hit[f.also] || f.needs != nil && !f.needs(b) {
			return false
		}
		hit[f.victim], hit[f.also] = true, f.also != ""
		chosen = append(chosen, f)
		return true
	}
	if len(*planned) > 0 {
		*planned = slices.DeleteFunc(*planned, func(f fault) bool { return take(f) || f.needs != nil && !f.needs(b) })
		return chosen
	}
	all := faults()
	for len(chosen) < n {
		f := all[b.random.IntN(len(all))]
		if strings.Contains(f.name, "long") && b.random.IntN(3) > 0 {
			continue // it costs the time of many others
		}
		take(f)
	}
	return chosen
}

// recovers waits until what is committed now is stored.
func (b *bench) recovers(after []string) time.Duration {
	begun := time.Now()
	id := b.pulse()
	query := fmt.Sprintf("SELECT count() FROM %s.audit_logs WHERE table_name = 'torture_pulse' AND resource_id = '%s' AND timestamp > now() - INTERVAL 1 HOUR", b.ch.Database, id)
	defer b.load.brake.Store(false)
	for time.Since(begun) < recoveryLimit {
		b.load.brake.Store(time.Since(begun) > brakeAfter)
		var n uint64
		if err := b.reader.QueryRow(context.Background(), query).Scan(&n); err == nil && n > 0 {
			return time.Since(begun)
		}
		wait(50 * time.Millisecond)
	}
	b.t.Fatalf("not up to date %s after %q\none: %s\ntwo: %s", recoveryLimit, after, b.sidecars[0].tail(), b.sidecars[1].tail())
	return 0
}

// pulse commits a row and returns its key.
func (b *bench) pulse() (id string) {
	conn := b.pg.Connect()
	defer conn.Close(context.Background())
	err := b.ledger.transact(context.Background(), conn, nil, "pulse", func(d *deed) error {
		d.counts["torture_pulse"] = count{ins: 1}
		return d.QueryRow(d.ctx, "INSERT INTO torture_pulse DEFAULT VALUES RETURNING id::text", pgx.QueryResultFormats{pgx.TextFormatCode}).Scan(&id)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// wait lets the load run for a while: faults come at random moments, so there
// is nothing to wait for.
func wait(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}
