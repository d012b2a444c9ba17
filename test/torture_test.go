package test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/demo"
	"github.com/pgwitness/pgwitness/test/harness"
)

// kills is how often the sidecar and ClickHouse are killed: few by default,
// many by `make torture`.
func kills(t testing.TB) (sidecars, engines int) {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("PGWITNESS_TORTURE")); err == nil {
		return n, n / 5
	}
	return 12, 3
}

// Kill -9 of the sidecar and of ClickHouse at random moments under load: in the
// end every committed change is an entry, once, in order, and the chain holds.
func TestTortureKill9(t *testing.T) {
	sidecars, engines := kills(t)
	pg, ch := harness.Postgres(t), harness.ClickHouseServer(t)
	shop := newShop(t, pg, func(c *demo.Config) { c.Duration, c.HeroPause, c.NightEvery = 0, time.Second, 1500 })
	s := newSidecar(t, pg, ch, shopConfig())
	census := openCensus(t, pg)
	s.start()
	if err := shop.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}

	load, stopLoad := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return shop.Run(load) })
	seed := uint64(time.Now().UnixNano())
	t.Logf("random seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range sidecars + engines {
		wait(time.Duration(100+random.IntN(900)) * time.Millisecond)
		if i%((sidecars+engines)/max(engines, 1)) == 0 && engines > 0 {
			ch.Kill()
			wait(time.Duration(random.IntN(300)) * time.Millisecond)
			ch.Start()
			continue
		}
		s.kill()
		s.start()
	}
	stopLoad()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.sync(3 * time.Minute)
	checkCensus(t, s, census)
	s.foldEqualsTables(auditedTables(t, pg)...)
	r := s.verified()
	t.Logf("%d kills of the sidecar, %d of ClickHouse, %d entries, none lost, none double", sidecars, engines, r.Size)
	s.stop()
}

// wait lets the load run for a while: the kills come at random moments, so
// there is nothing to wait for.
func wait(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}
