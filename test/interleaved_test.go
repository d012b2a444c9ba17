package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/test/harness"
)

const bookingConfig = "streams:\n  - name: bookings\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: public.booking}]\n"

// booked is what a committed transaction must have left in the trail, in the
// order of the commits: its number, the number of its rows, and its actor in
// every one of them.
type booked struct {
	tx, rows int
}

// 10,000 transactions are open at once, prepared, some with a savepoint that
// was rolled back, while 100 more write row by row, each in turn. They end in
// quite another order, a quarter of them rolled back, and the sidecar is killed
// in between: every committed one is there, whole, in the order of the commits,
// each under its own actor, and of the others there is nothing.
func TestCapture_case16_10000_open_transactions(t *testing.T) {
	t.Parallel()
	const prepared, sessions, rounds = 10_000, 100, 5
	pg := harness.PostgresServer(t, 0, map[string]string{"max_prepared_transactions": fmt.Sprint(prepared), "max_locks_per_transaction": "10"})
	ch := harness.ClickHouse(t)
	pg.Exec("CREATE TABLE booking (id bigserial PRIMARY KEY, tx int NOT NULL)")
	s := newSidecar(t, pg, ch, bookingConfig)
	s.start()

	for tx := range prepared {
		pg.Exec(prepare(tx))
	}
	conns := openSessions(t, pg, sessions, prepared)
	for range rounds {
		for i, conn := range conns {
			mustExec(t, conn, fmt.Sprintf("INSERT INTO booking (tx) VALUES (%d)", prepared+i))
		}
	}
	if open := pg.Value("SELECT count(*) FROM pg_prepared_xacts"); open != fmt.Sprint(prepared) {
		t.Fatalf("%s prepared transactions are open, want %d", open, prepared)
	}
	s.kill()
	s.start()

	random := rand.New(rand.NewPCG(16, 16))
	var want []booked
	for n, tx := range random.Perm(prepared + sessions) {
		switch end, rows := "COMMIT", rowsOf(tx); {
		case tx >= prepared:
			mustExec(t, conns[tx-prepared], end)
			want = append(want, booked{tx, rounds})
		case n%4 == 0:
			pg.Exec(fmt.Sprintf("ROLLBACK PREPARED 'booking %d'", tx))
		default:
			pg.Exec(fmt.Sprintf("COMMIT PREPARED 'booking %d'", tx))
			want = append(want, booked{tx, rows})
		}
		if n == prepared/2 {
			s.kill()
			s.start()
		}
	}
	s.sync(time.Minute)
	checkBookings(t, ch, want)
	s.foldEqualsTables("booking")
	s.verified()
	s.stop()
}

// prepare is a transaction with rowsOf(tx) rows that stays open, prepared.
func prepare(tx int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN; SELECT set_config('audit.actor_id', 'clerk-%d', true); INSERT INTO booking (tx) VALUES (%[1]d);", tx)
	if tx%3 == 0 {
		fmt.Fprintf(&b, "SAVEPOINT s; SELECT set_config('audit.actor_id', 'nobody', true); INSERT INTO booking (tx) VALUES (%d); ROLLBACK TO s;", tx)
	}
	if tx%2 == 1 {
		fmt.Fprintf(&b, "INSERT INTO booking (tx) VALUES (%d);", tx)
	}
	fmt.Fprintf(&b, "PREPARE TRANSACTION 'booking %d'", tx)
	return b.String()
}

func rowsOf(tx int) int { return 1 + tx%2 }

// openSessions opens transactions that stay open in sessions of their own.
func openSessions(t *testing.T, pg *harness.PG, n, first int) []*pgx.Conn {
	t.Helper()
	conns := make([]*pgx.Conn, n)
	for i := range conns {
		conns[i] = pg.Connect()
		mustExec(t, conns[i], fmt.Sprintf("BEGIN; SELECT set_config('audit.actor_id', 'clerk-%d', true)", first+i))
	}
	return conns
}

func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// checkBookings compares the transactions in the trail, in its order.
func checkBookings(t *testing.T, ch *harness.CH, want []booked) {
	t.Helper()
	n := 0
	ch.Each(func(scan func(...any)) {
		var tx, entries int64
		var strange uint64
		scan(&tx, &entries, &strange)
		if got := (booked{int(tx), int(entries)}); n >= len(want) || got != want[n] || strange > 0 {
			t.Fatalf("transaction %d of the trail is %+v with %d entries of another actor or transaction, want %+v", n, got, strange, want[min(n, len(want)-1)])
		}
		n++
	}, `
		SELECT toInt64(min(tx)), toInt64(count()), countIf(actor_id != concat('clerk-', toString(tx)) OR tx != first_tx)
		  FROM (SELECT *, JSONExtractInt(assumeNotNull(new_values), 'tx') AS tx, first_value(tx) OVER (PARTITION BY commit_lsn ORDER BY ordinal) AS first_tx
		          FROM audit_logs WHERE table_name = 'booking')
		 GROUP BY commit_lsn ORDER BY min(sequence)`)
	if n != len(want) {
		t.Errorf("%d transactions in the trail, %d were committed", n, len(want))
	}
}
