package sink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
)

// large is a batch that is more than twice halfway, uncompressed.
const large = 3000

// eventually polls until ok or a deadline.
func (tr *trail) eventually(what string, ok func() bool) {
	tr.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tr.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func (tr *trail) holds(n int) func() bool {
	return func() bool { return tr.count() == fmt.Sprintf("%d entries, %d distinct", n, n) }
}

// proxied is a sink whose connection can be broken.
func (tr *trail) proxied(cfg sink.Config) (*sink.Sink, *breaker) {
	tr.t.Helper()
	server := tr.server("sink")
	server.Compress = false // so that bytes on the wire are those of the entries
	p := newBreaker(tr.t, server)
	s := sink.New(p.before(server), cfg, "shop", zerolog.New(zerolog.NewTestWriter(tr.t)))
	tr.t.Cleanup(func() { _ = s.Close() })
	return s, p
}

type inserted struct {
	head audit.Head
	err  error
}

// begin inserts n entries behind head in the background.
func begin(ctx context.Context, t testing.TB, s *sink.Sink, head audit.Head, n int) <-chan inserted {
	t.Helper()
	b, err := s.Prepare(chain(head, n, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan inserted, 1)
	go func() {
		head, err := s.Insert(ctx, head, b)
		done <- inserted{head, err}
	}()
	return done
}

// must wait for an insert that has to succeed.
func must(t testing.TB, done <-chan inserted) audit.Head {
	t.Helper()
	select {
	case r := <-done:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.head
	case <-time.After(time.Minute):
		t.Fatal("the insert did not end within a minute")
	}
	return audit.Head{}
}

// The failure table: however an insert fails, whether the server stored it or
// not, it is stored once, and the next one goes on from there.
func TestInsertIsExactlyOnce(t *testing.T) {
	impatient := quick()
	impatient.InsertTimeout = 2 * time.Second
	for _, c := range []struct {
		name  string
		fault fault
		cfg   sink.Config
		then  func(*trail, *breaker)
	}{
		{"not stored: broken before the statement", cutEarly, quick(), nil},
		{"not stored: broken in the middle of the rows", cutMiddle, quick(), nil},
		{"not stored: rows stop arriving, timeout", freeze, impatient, nil},
		{"stored: answer lost, connection broken", loseAnswer, quick(), func(tr *trail, p *breaker) {
			tr.eventually("the insert is stored", tr.holds(5+large))
			p.Reset()
		}},
		{"stored: answer lost, timeout", loseAnswer, impatient, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrail(t)
			s, p := tr.proxied(c.cfg)
			head := insert(t, s, genesis(), 5)
			p.arm(c.fault)
			done := begin(t.Context(), t, s, head, large)
			p.wait()
			if c.then != nil {
				c.then(tr, p)
			}
			head = must(t, done)
			if stats := s.Stats(); stats.Failures == 0 || stats.Failing != nil || stats.Entries != 5+large {
				t.Errorf("stats are %+v, want failures that are over", stats)
			}
			tr.mustHold(insert(t, s, head, 7))
		})
	}
}

// The same with the engine killed.
func TestInsertSurvivesTheEngine(t *testing.T) {
	tr := ownTrail(t)
	s, p := tr.proxied(quick())
	head := insert(t, s, genesis(), 5)

	tr.Kill() // before
	done := begin(t.Context(), t, s, head, large)
	tr.Start()
	head = must(t, done)
	tr.mustHold(head)

	p.arm(freeze)
	done = begin(t.Context(), t, s, head, large)
	p.wait()
	tr.Kill() // in the middle of the rows
	p.Reset()
	tr.Start()
	head = must(t, done)
	tr.mustHold(head)

	p.arm(loseAnswer)
	done = begin(t.Context(), t, s, head, large)
	p.wait()
	tr.eventually("the insert is stored", tr.holds(5+3*large))
	tr.Kill() // after it was stored, before anybody heard of it
	tr.Start()
	head = must(t, done)
	tr.mustHold(head)
	tr.mustHold(insert(t, s, head, 7))
}

// Killed at any moment, not at chosen ones.
func TestInsertSurvivesRandomKills(t *testing.T) {
	tr := ownTrail(t)
	s := tr.sink()
	head := insert(t, s, genesis(), 1)
	for round := range 6 {
		done := begin(t.Context(), t, s, head, large)
		time.Sleep(time.Duration(round*7) * time.Millisecond) // the moment of the fault, not a wait for something
		tr.Kill()
		tr.Start()
		head = must(t, done)
	}
	tr.mustHold(head)
}

// ClickHouse notes the token of an insert before it keeps the part. Dying
// between the two, it takes each repetition for one that is stored.
func TestInsertTakenForARepetitionIsStored(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	head := insert(t, s, genesis(), 5)
	tr.Exec("INSERT INTO " + tr.Database + ".audit_logs (stream, sequence, timestamp) SETTINGS async_insert = 0, " +
		"insert_deduplication_token = 'shop/5' VALUES ('another', 0, '2026-01-02 00:00:00')")
	head = insert(t, s, head, 10)
	if n := s.Stats().Failures; n != 1 {
		t.Errorf("%d failures, want the one repetition", n)
	}
	tr.mustHold(insert(t, s, head, 1))
}

func TestSecondWriterIsRefused(t *testing.T) {
	tr := newTrail(t)
	first, second := tr.sink(), tr.sink()
	head := insert(t, first, genesis(), 10)

	// Another chain from the same head, while the first has gone on.
	ahead := insert(t, first, head, 5)
	for _, n := range []int{1, 5, 20} {
		b, err := second.Prepare(chain(head, n, "mallory"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = second.Insert(t.Context(), head, b)
		if !errors.Is(err, audit.ErrNeedsHuman) {
			t.Fatalf("second writer's %d entries: %v, want an error that asks for a human", n, err)
		}
		for _, hash := range []audit.Hash{head.Hash, ahead.Hash, b.Head().Hash} {
			if !strings.Contains(err.Error(), hash.String()) {
				t.Errorf("the error does not name head %s: %v", hash, err)
			}
		}
	}
	tr.mustHold(ahead)
}

// Writers that race from one head: one of them wins, whatever the others do.
func TestRacingWritersCannotFork(t *testing.T) {
	tr := newTrail(t)
	sinks := []*sink.Sink{tr.sink(), tr.sink(), tr.sink()}
	head := genesis()
	for range 5 {
		var race sync.WaitGroup
		results := make([]inserted, len(sinks))
		for i, s := range sinks {
			b, err := s.Prepare(chain(head, 10+i, fmt.Sprintf("writer %d", i)))
			if err != nil {
				t.Fatal(err)
			}
			race.Go(func() { results[i].head, results[i].err = s.Insert(t.Context(), head, b) })
		}
		race.Wait()
		winners := 0
		for _, r := range results {
			switch {
			case r.err == nil:
				winners++
				head = r.head
			case !errors.Is(r.err, audit.ErrNeedsHuman):
				t.Fatalf("a loser ends with %v", r.err)
			}
		}
		if winners != 1 {
			t.Fatalf("%d writers won", winners)
		}
	}
	tr.mustHold(head)
}

// What retrying cannot cure is reported, and tried until somebody cures it.
func TestRejectionIsReportedAndRetried(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	head := insert(t, s, genesis(), 5)
	tr.Exec("RENAME TABLE " + tr.Database + ".audit_logs TO " + tr.Database + ".gone")
	done := begin(t.Context(), t, s, head, 10)
	tr.eventually("the rejection is reported", func() bool { return s.Stats().Failing != nil })
	stats := s.Stats()
	if stats.FailingCode != store.CodeUnknownTable || !strings.Contains(audit.Hint(stats.Failing), "pgwitness setup") || stats.FailingSince.IsZero() {
		t.Errorf("reported are %+v with hint %q", stats, audit.Hint(stats.Failing))
	}
	tr.Exec("RENAME TABLE " + tr.Database + ".gone TO " + tr.Database + ".audit_logs")
	tr.mustHold(must(t, done))
	if s.Stats().Failing != nil {
		t.Errorf("the rejection is over, and yet reported: %v", s.Stats().Failing)
	}
}

// The end of the context ends the attempts; the batch is not lost by it.
func TestEndOfContextLeavesTheBatch(t *testing.T) {
	tr := newTrail(t)
	s := tr.sink()
	head := insert(t, s, genesis(), 5)
	b, err := s.Prepare(chain(head, 10, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	tr.Exec("RENAME TABLE " + tr.Database + ".audit_logs TO " + tr.Database + ".gone")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Insert(ctx, head, b); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("insert ends with %v, want the end of the context", err)
	}
	tr.Exec("RENAME TABLE " + tr.Database + ".gone TO " + tr.Database + ".audit_logs")
	head, err = s.Insert(t.Context(), head, b)
	if err != nil {
		t.Fatal(err)
	}
	tr.mustHold(head)
}

func TestOneInsertIsOnePart(t *testing.T) {
	tr := newTrail(t)
	tr.Exec("SYSTEM STOP MERGES " + tr.Database + ".audit_logs")
	s := tr.sink()
	insert(t, s, insert(t, s, genesis(), 1), 70_000)
	parts := tr.Value("SELECT count() FROM system.parts WHERE database = '" + tr.Database + "' AND table = 'audit_logs'")
	if parts != "2" {
		t.Errorf("two inserts made %s parts", parts)
	}
}
