package cdc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// patience bounds every wait for a server.
const patience = time.Minute

// tape records what a Reader delivers from a real server. The role that reads
// has no right but to log in and to replicate.
type tape struct {
	t     *testing.T
	pg    *harness.PG
	cfg   Config
	keys  KeySource
	log   zerolog.Logger
	read  *Reader
	feeds chan audit.Feed
	ended chan error // of Run
	stop  context.CancelFunc

	txs    []audit.Tx // complete, since the last rewind
	open   *audit.Tx  // its last part is still to come
	parts  int        // all parts that came
	marker int
}

// newTape makes a publication for what is named ("TABLE t, u") and a slot, both
// called after the test, and a Reader that does not run yet.
func newTape(t *testing.T, pg *harness.PG, published string) *tape {
	t.Helper()
	if pg.Value("SELECT count(*) FROM pg_roles WHERE rolname = 'reader'") == "0" {
		pg.Exec("CREATE ROLE reader LOGIN REPLICATION PASSWORD 'secret'")
	}
	name := "t" + strings.ReplaceAll(pg.Value("SELECT gen_random_uuid()"), "-", "")
	pg.Exec("CREATE PUBLICATION " + name + " FOR " + published)
	pg.Exec("SELECT pg_create_logical_replication_slot('" + name + "', 'pgoutput')")
	cfg := DefaultConfig()
	cfg.DSN, cfg.Slot, cfg.Publication = pg.DSNAs("reader", "secret"), name, name
	cfg.StatusInterval = 50 * time.Millisecond
	if strings.HasPrefix(t.Name(), "TestCaptureBacklog/") {
		cfg.Backlog = 1
	}
	tp := &tape{t: t, pg: pg, cfg: cfg, log: testLog(t), feeds: make(chan audit.Feed)}
	t.Cleanup(func() {
		tp.close()
		tp.released()
		pg.Exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '" + name + "'")
		pg.Exec("DROP PUBLICATION IF EXISTS " + name)
	})
	return tp
}

// start makes a Reader and lets it run.
func (tp *tape) start() *tape {
	tp.t.Helper()
	if err := tp.cfg.Validate(); err != nil {
		tp.t.Fatal(err)
	}
	if tp.keys == nil {
		catalog := NewCatalog(tp.cfg)
		tp.keys = catalog
		tp.t.Cleanup(func() { catalog.Close(context.Background()) })
	}
	tp.read = New(tp.cfg, tp.keys, tp.log)
	tp.run()
	return tp
}

// released waits until nobody holds the slot: the server does not notice at
// once that a connection is gone.
func (tp *tape) released() {
	tp.t.Helper()
	tp.eventually("SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = '"+tp.cfg.Slot+"'", "0")
}

// run runs the Reader that is there, again.
func (tp *tape) run() {
	ctx, cancel := context.WithCancel(context.Background())
	tp.stop, tp.ended, tp.open = cancel, make(chan error, 1), nil
	go func(ended chan<- error) { ended <- tp.read.Run(ctx, tp.feeds) }(tp.ended)
}

// cut ends Run without a word to the server, as a crash would.
func (tp *tape) cut() {
	tp.t.Helper()
	tp.stop()
	if err := <-tp.ended; err != nil {
		tp.t.Errorf("Run returned %v after its context had ended, want nil", err)
	}
	tp.read.hangUp()
	tp.stop = nil
	tp.released()
}

// close ends Run in order.
func (tp *tape) close() {
	tp.t.Helper()
	if tp.stop == nil {
		return
	}
	tp.stop()
	<-tp.ended
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := tp.read.Close(ctx); err != nil {
		tp.t.Errorf("close: %v", err)
	}
	tp.stop = nil
}

// failed waits until Run returns an error and returns it.
func (tp *tape) failed() error {
	tp.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case err := <-tp.ended:
			tp.stop = nil
			tp.read.Close(context.Background())
			return err
		case f := <-tp.feeds:
			tp.take(f)
		case <-deadline:
			tp.t.Fatal("Run did not end")
		}
	}
}

// take puts the transactions of a feed on the tape. Parts are checked and put
// together; markers, which carry a position only, are left out.
func (tp *tape) take(f audit.Feed) {
	tp.t.Helper()
	for _, tx := range f.Txs {
		if tx.XID == 0 && len(tx.Changes) == 0 {
			continue
		}
		tp.parts++
		if tx.First != (tp.open == nil) || (tx.EndLSN != 0) != (tx.Last && tx.XID != 0) {
			tp.t.Fatalf("part %+v does not follow %+v", tx, tp.open)
		}
		if tx.First {
			tp.open = &tx
		} else {
			tp.open.Changes = append(tp.open.Changes, tx.Changes...)
			tp.open.EndLSN = tx.EndLSN
		}
		if tx.Last {
			tp.txs, tp.open = append(tp.txs, *tp.open), nil
		}
	}
}

// next takes one feed, or fails the test when none comes.
func (tp *tape) next() audit.Feed {
	tp.t.Helper()
	select {
	case f := <-tp.feeds:
		tp.take(f)
		return f
	case err := <-tp.ended:
		tp.stop = nil
		tp.t.Fatalf("Run ended: %v", err)
	case <-time.After(patience):
		tp.t.Fatal("no feed came")
	}
	return audit.Feed{}
}

// rewind returns all transactions up to now. It knows the end by a message that
// it writes itself.
func (tp *tape) rewind() []audit.Tx {
	tp.t.Helper()
	tp.marker++
	end := fmt.Sprint("end ", tp.marker)
	tp.pg.Exec("SELECT pg_logical_emit_message(true, 'tape', $1)", end)
	for {
		for i, tx := range tp.txs {
			if m := tx.Changes; len(m) == 1 && m[0].Op == audit.Logical && string(m[0].Message.Content) == end {
				txs := tp.txs[:i:i]
				tp.txs = tp.txs[i+1:]
				return txs
			}
		}
		tp.next()
	}
}

// want rewinds and compares the changes with their expected short forms.
func (tp *tape) want(want ...string) []audit.Tx {
	tp.t.Helper()
	txs := tp.rewind()
	var got []string
	for _, tx := range txs {
		for _, c := range tx.Changes {
			got = append(got, short(c))
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		tp.t.Error(diff)
	}
	return txs
}

// eventually polls until a query gives the wanted value.
func (tp *tape) eventually(query, want string) {
	tp.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := tp.pg.Value(query)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			tp.t.Fatalf("%s is %q, want %q", query, got, want)
		}
		tp.pg.Exec("SELECT pg_sleep(0.02)")
	}
}

// short is the form that tests write changes in:
//
//	insert orders [1 'a' NULL]     update orders key[1 -] [2 ~]     truncate orders cascade
func short(c audit.Change) string {
	if c.Op == audit.Logical {
		return fmt.Sprintf("message %s %q %t", c.Message.Prefix, c.Message.Content, c.Message.Transactional)
	}
	s := c.Op.String() + " " + c.Relation.Name
	if c.Old != nil && c.OldWhole {
		s += " old" + shortTuple(c.Old)
	} else if c.Old != nil {
		s += " key" + shortTuple(c.Old)
	}
	if c.New != nil {
		s += " " + shortTuple(c.New)
	}
	if c.Cascade {
		s += " cascade"
	}
	if c.RestartIdentity {
		s += " restart"
	}
	return s
}

func shortTuple(t audit.Tuple) string {
	var b strings.Builder
	for i, v := range t {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch v.Kind {
		case audit.Absent:
			b.WriteByte('-')
		case audit.Null:
			b.WriteString("NULL")
		case audit.Unchanged:
			b.WriteByte('~')
		default:
			text := string(v.Data)
			if len(text) > 40 {
				text = fmt.Sprintf("%s…%d", text[:3], len(text))
			}
			b.WriteString(text)
		}
	}
	return "[" + b.String() + "]"
}

func testLog(t *testing.T) zerolog.Logger { return zerolog.New(zerolog.NewTestWriter(t)) }

// execAt runs a statement at another database of the server.
func execAt(t *testing.T, dsn, statement string) {
	t.Helper()
	conn, err := pgconn.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.Exec(context.Background(), statement).Close(); err != nil {
		t.Fatal(err)
	}
}
