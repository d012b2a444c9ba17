package pgwitness

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/demo"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/trail"
)

// DemoOptions says how the demo is shown.
type DemoOptions struct {
	Keep     bool          // leave everything up afterwards, until ctx ends
	Dir      string        // folder of the engines; empty: a temporary one
	Engines  string        // folder of the embedded engines' files
	Duration time.Duration // of the traffic
	Rate     float64       // deeds per second
	Terminal bool          // progress and colours
	Verbose  bool          // logs of the sidecar, too
}

// demoRun is one showing.
type demoRun struct {
	DemoOptions
	out     io.Writer
	witness *Witness
	engines *Engines
	shop    *demo.Shop
	dsn     string // of the shop's database, as superuser
	began   time.Time
}

// RunDemo shows the product from one end to the other: it starts both engines,
// installs a shop and the witness, runs traffic, tells the story of one order,
// verifies the chain, tampers with it as somebody who administers ClickHouse
// could, and shows that verification names the entry.
func RunDemo(ctx context.Context, o DemoOptions, log zerolog.Logger, out io.Writer) (err error) {
	d := &demoRun{DemoOptions: o, out: out, began: time.Now()}
	if d.Dir == "" {
		if d.Dir, err = os.MkdirTemp("", "pgwitness-demo-"); err != nil {
			return fmt.Errorf("make demo folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.Dir)) }()
		if err := os.Chmod(d.Dir, 0o711); err != nil { // PostgreSQL runs as another user under root
			return fmt.Errorf("open demo folder: %w", err)
		}
	}
	if err := d.start(ctx, log); err != nil {
		return err
	}
	defer d.engines.Stop()
	if err := d.install(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	var sidecar errgroup.Group
	sidecar.Go(func() error { return d.witness.Run(running) })
	err = d.show(ctx)
	if err == nil && d.Keep {
		d.connections()
		<-ctx.Done()
	}
	stop()
	return errors.Join(err, sidecar.Wait())
}

// show is the demo once everything is up.
func (d *demoRun) show(ctx context.Context) error {
	if err := d.settle(ctx); err != nil {
		return err
	}
	if err := d.traffic(ctx); err != nil {
		return err
	}
	if err := d.story(ctx); err != nil {
		return err
	}
	if err := d.refusals(ctx); err != nil {
		return err
	}
	if err := d.people(ctx); err != nil {
		return err
	}
	if err := d.counts(ctx); err != nil {
		return err
	}
	if err := d.proof(ctx); err != nil {
		return err
	}
	d.say("done in %.0f s.", time.Since(d.began).Seconds())
	return nil
}

// say prints a line of the presenter.
func (d *demoRun) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if d.Terminal {
		line = "\x1b[1m" + line + "\x1b[0m"
	}
	fmt.Fprintf(d.out, "\n%s\n", line)
}

// start starts the engines and configures the witness for the shop.
func (d *demoRun) start(ctx context.Context, log zerolog.Logger) error {
	d.say("Starting a PostgreSQL and a ClickHouse, for this demo only.")
	if !d.Verbose {
		log = log.Level(zerolog.ErrorLevel)
	}
	cfg := DefaultConfig()
	cfg.StateDir, cfg.Engines = d.Dir, d.Engines
	cfg.HTTP.Listen = "off"
	d.witness = New(cfg, log)
	var err error
	if d.engines, err = d.witness.startEngines(ctx, true, true); err != nil {
		return err
	}
	a := d.engines.addresses(cfg.ClickHouse.Database)
	if d.dsn, err = ensureDatabase(ctx, a.Postgres, "shop"); err != nil {
		return errors.Join(err, d.stopEngines())
	}
	text := strings.ReplaceAll(string(demo.Configuration()), "${SHOP_DSN}", strconv.Quote(d.dsn))
	shop, err := ParseConfig("demo", []byte(text))
	if err != nil {
		return errors.Join(err, d.stopEngines())
	}
	d.witness.cfg.Streams = shop.Streams
	if err := d.witness.useAddresses(ctx, a); err != nil {
		return errors.Join(err, d.stopEngines())
	}
	d.step("PostgreSQL %s and ClickHouse are up.", d.engines.Postgres.Version())
	return nil
}

func (d *demoRun) stopEngines() error { d.engines.Stop(); return nil }

// step prints what was done, and when.
func (d *demoRun) step(format string, args ...any) {
	fmt.Fprintf(d.out, "  %5.1f s  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// install makes the shop, and then the witness beside it.
func (d *demoRun) install(ctx context.Context) error {
	cfg := demo.DefaultConfig()
	cfg.DSN, cfg.Duration, cfg.Rate = d.dsn, d.Duration, d.Rate
	cfg.HeroPause = d.Duration / 12 // six steps, in the first half
	cfg.Passwords = make(map[string]string)
	for _, role := range demo.Roles() {
		cfg.Passwords[role] = rand.Text()
	}
	d.shop = demo.New(cfg, d.witness.log)
	if err := d.shop.Install(ctx); err != nil {
		return err
	}
	d.step("An online shop is installed. Its programs know nothing of an audit trail.")
	if err := d.witness.Setup(ctx, io.Discard); err != nil {
		return err
	}
	d.step("pgwitness setup: publication, triggers, slot; tables, users and grants in ClickHouse.")
	return nil
}

// settleTimeout bounds the wait for the baseline of empty tables.
const settleTimeout = 30 * time.Second

// settle waits until the sidecar has looked for rows that are older than the
// stream, so that none of those to come is read twice.
func (d *demoRun) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		list, err := d.witness.Status(ctx)
		if err == nil && len(list) > 0 && len(list[0].Baselines) > 0 && !slices.ContainsFunc(list[0].Baselines, unsettled) {
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return errors.Join(fmt.Errorf("wait for the sidecar of the demo: %w", ctx.Err()), err)
		}
	}
}

func unsettled(b TableBaseline) bool { return b.Phase != baseline.Completed }

// traffic runs the shop, showing how the trail keeps up.
func (d *demoRun) traffic(ctx context.Context) error {
	d.say("%s of business: an admin panel, a storefront, a Shopify connector, a partner, a nightly job, and Bob in psql.", d.Duration)
	if err := d.shop.Seed(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- d.shop.Run(ctx) }()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			d.progress("")
			if err != nil {
				return err
			}
			return d.caughtUp(ctx)
		case <-tick.C:
			n, err := d.entries(ctx)
			if err != nil {
				return err
			}
			d.progress("  %5.1f s  %d transactions committed, %d entries stored", time.Since(d.began).Seconds(), d.shop.Tally().Committed, n)
		}
	}
}

// progress draws a line over the last one; "" takes it away.
func (d *demoRun) progress(format string, args ...any) {
	if d.Terminal {
		fmt.Fprintf(d.out, "\r\x1b[K"+format, args...)
	}
}

func (d *demoRun) entries(ctx context.Context) (uint64, error) {
	t, err := d.trail()
	if err != nil {
		return 0, err
	}
	counts, err := t.Counts(ctx, trail.Filter{}, trail.ByStream)
	if err != nil || len(counts) == 0 {
		return 0, err
	}
	return counts[0].Entries, nil
}

func (d *demoRun) trail() (*trail.Trail, error) {
	server, err := d.witness.cfg.ClickHouse.Reader()
	if err != nil {
		return nil, err
	}
	return trail.New(server), nil
}

// caughtUp waits until every change that the shop made is an entry.
func (d *demoRun) caughtUp(ctx context.Context) error {
	if err := d.witness.Sync(ctx, ""); err != nil {
		return err
	}
	n, err := d.entries(ctx)
	if err != nil {
		return err
	}
	tally := d.shop.Tally()
	d.step("%d transactions changed %d rows. %d entries are stored.", tally.Committed, tally.Changes.Total(demo.Tables()...), n)
	return nil
}

// story tells the life of one order.
func (d *demoRun) story(ctx context.Context) error {
	order := strconv.FormatInt(d.shop.Hero().OrderID, 10)
	d.say("The CFO asks: who took money off order %s, and why?   $ pgwitness trail order %s", order, order)
	fmt.Fprintln(d.out)
	_, _, err := d.witness.Trail(ctx, TrailQuery{ResourceType: "order", ResourceID: order}, TrailStyle{Color: d.Terminal}, d.out)
	return err
}

// refusals shows the last attempts that a guard refused.
func (d *demoRun) refusals(ctx context.Context) error {
	d.say("Who was refused, and why?   $ pgwitness trail --action refused --limit 4")
	fmt.Fprintln(d.out)
	_, _, err := d.witness.Trail(ctx, TrailQuery{Action: "refused", Limit: 4}, TrailStyle{Color: d.Terminal}, d.out)
	return err
}

// counts shows who did how much, with the SQL that an analyst would write.
func (d *demoRun) counts(ctx context.Context) error {
	const query = "SELECT actor_type, actor_id, count() FROM audit_logs GROUP BY ALL ORDER BY 3 DESC LIMIT 10"
	d.say("Who did how much?   clickhouse> %s", query)
	fmt.Fprintln(d.out)
	conn, err := store.Open(ctx, d.witness.cfg.ClickHouse.ReaderDSN, d.witness.cfg.ClickHouse.Database)
	if err != nil {
		return err
	}
	defer conn.Close()
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return fmt.Errorf("count entries by actor: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, actor *string
		var n uint64
		if err := rows.Scan(&kind, &actor, &n); err != nil {
			return fmt.Errorf("count entries by actor: %w", err)
		}
		fmt.Fprintf(d.out, "  %-8s %-36s %8d\n", orNull(kind), orNull(actor), n)
	}
	return rows.Err()
}

func orNull(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}

// proof verifies, tampers, and verifies again.
func (d *demoRun) proof(ctx context.Context) error {
	d.say("Is the trail intact?   $ pgwitness verify")
	fmt.Fprintln(d.out)
	before, err := d.verify(ctx)
	if err != nil {
		return err
	}
	if !before.Holds() {
		return fmt.Errorf("the trail does not hold, and nobody has touched it yet: %w", before.Err())
	}
	sequence, err := d.tamper(ctx)
	if err != nil {
		return err
	}
	d.say("Is the trail intact?   $ pgwitness verify")
	fmt.Fprintln(d.out)
	after, err := d.verify(ctx)
	if err != nil {
		return err
	}
	findings := after.Verdict("integrity").Findings
	if len(findings) == 0 || findings[0].Sequence != sequence {
		return fmt.Errorf("entry %d was changed, and verification did not name it", sequence)
	}
	d.say("Somebody changed entry %d. It cannot be hidden.", sequence)
	return nil
}

func (d *demoRun) verify(ctx context.Context) (Report, error) {
	reports, err := d.witness.Verify(ctx, VerifyQuery{}, nil)
	if err != nil {
		return Report{}, err
	}
	return reports[0], reports[0].WriteText(d.out)
}

// tamper edits the reason of the hero's refund, as the administrator of
// ClickHouse, and returns the sequence of the entry.
func (d *demoRun) tamper(ctx context.Context) (uint64, error) {
	conn, err := store.Open(ctx, d.witness.cfg.ClickHouse.AdminDSN, d.witness.cfg.ClickHouse.Database)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var sequence uint64
	err = conn.QueryRow(ctx, "SELECT max(sequence) FROM audit_logs WHERE resource_type = 'order' AND resource_id = ? AND action = 'refund'",
		strconv.FormatInt(d.shop.Hero().OrderID, 10)).Scan(&sequence)
	if err != nil {
		return 0, fmt.Errorf("find the refund: %w", err)
	}
	statement := fmt.Sprintf("ALTER TABLE audit_logs UPDATE actor_id = 'bob' WHERE sequence = %d", sequence)
	d.say("Somebody with administrator rights in ClickHouse blames Bob for the refund.   clickhouse> %s", statement)
	if err := conn.Exec(ctx, statement+" SETTINGS mutations_sync = 2"); err != nil {
		return 0, fmt.Errorf("tamper with entry %d: %w", sequence, err)
	}
	return sequence, nil
}

// connections says how to look around.
func (d *demoRun) connections() {
	a := d.engines.addresses(d.witness.cfg.ClickHouse.Database)
	d.say("Everything stays up until you press Ctrl-C.")
	fmt.Fprintf(d.out, "  psql '%s'\n", d.dsn)
	fmt.Fprintf(d.out, "  clickhouse client --connection-string '%s'\n", a.ClickHouse.Reader)
	fmt.Fprintf(d.out, "  curl '%s/?database=%s' -H 'X-ClickHouse-User: %s' -H 'X-ClickHouse-Key: %s' -d 'SELECT count() FROM audit_logs'\n",
		d.engines.ClickHouse.HTTPURL(), d.witness.cfg.ClickHouse.Database, sink.Reader, d.engines.ClickHouse.Password(sink.Reader))
	fmt.Fprintf(d.out, "  bin/pgwitness --config %s trail order %d\n", filepath.Join(d.Dir, "pgwitness.yaml"), d.shop.Hero().OrderID)
}
