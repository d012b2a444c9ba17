package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/trail"
	"github.com/pgwitness/pgwitness/verify"
)

func wantIn(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("lacks %q:\n%s", part, text)
		}
	}
}

func wantOut(t testing.TB, text, part string) {
	t.Helper()
	if strings.Contains(text, part) {
		t.Errorf("has %q:\n%s", part, text)
	}
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	pg, ch := harness.Postgres(t), harness.ClickHouse(t)
	pg.Exec(continuityTables)
	s := newSidecar(t, pg, ch, "streams:\n  - name: shop\n    postgres: {dsn: \"${SHOP_DSN}\"}\n    tables: [{name: \"public.*\"}]\n    heartbeat_interval: 0s\n")
	s.start()
	s.sync(time.Minute)
	work(pg, honestWork)
	q := pgwitness.VerifyQuery{Reconcile: true}
	r := s.finds(q)
	// Rows 107 to 110 were never touched.
	wantIn(t, r.Verdict(verify.Completeness).Reason, "reconciled 5 tables", "4 unknown before the stream began")

	t.Run("transactions that are open", func(t *testing.T) {
		defer s.under(t)()
		s.reconcilesBesideOpenTransactions(t, q)
	})
	t.Run("while others write", func(t *testing.T) {
		defer s.under(t)()
		s.reconcilesUnderLoad(t, q)
	})
	t.Run("in parts", func(t *testing.T) { s.reconcilesInParts(t) })

	pg.Exec("TRUNCATE tills; INSERT INTO tills VALUES (1, 1), (2, 2), (3, 3)")
	hidden := []verify.Finding{
		{Kind: verify.RowDifferent, Table: "public.stock", Key: "1/a", Columns: []string{"pieces"}},
		{Kind: verify.RowDifferent, Table: "public.tills", Key: "2", Columns: []string{"cash"}},
		{Kind: verify.RowMissing, Table: "public.tills", Key: "4"},
		{Kind: verify.RowExtra, Table: "public.tills", Key: "1"},
		{Kind: verify.RowExtra, Table: "public.visits"},
	}
	s.unpublished("stock", "UPDATE stock SET pieces = 'hidden' WHERE sku = 'a'")
	s.unpublished("tills", "UPDATE tills SET cash = 9 WHERE id = 2; INSERT INTO tills VALUES (4, 4); DELETE FROM tills WHERE id = 1")
	s.unpublished("visits", "DELETE FROM visits WHERE who = 'bob'")
	r = s.finds(q, hidden...)
	last := s.query("SELECT toString(max(sequence)) FROM audit_logs WHERE table_name = 'stock' AND resource_id = '1/a'")
	if got := fmt.Sprint(r.Verdict(verify.Completeness).Findings[0].Sequence); got != last {
		t.Errorf("the finding names sequence %s, want the last entry of the row, %s", got, last)
	}
	out, code := s.run("verify", "--full", "--continuity", "--reconcile", "--json")
	if code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	wantIn(t, out, `"kind": "row_missing"`, `"kind": "row_extra"`, `"kind": "row_different"`)
	wantOut(t, out, "hidden\"")
	s.prints(3, []string{"verify", "--reconcile", "--values"}, `got  pieces="hidden"`)

	t.Run("a role that may not read", func(t *testing.T) {
		defer s.under(t)()
		s.reconcilesAsAnotherRole(t)
	})
	t.Run("no sidecar", func(t *testing.T) {
		defer s.under(t)()
		s.stop()
		pg.Exec("DELETE FROM tills")
		s.prints(4, []string{"verify", "--reconcile"}, "NOT CHECKED", "reconcile could not be checked", "start the sidecar")
	})
}

// reconcilesBesideOpenTransactions reconciles before and after others commit.
func (s *sidecar) reconcilesBesideOpenTransactions(t *testing.T, q pgwitness.VerifyQuery) {
	ctx := t.Context()
	conn := s.pg.Connect()
	defer conn.Close(ctx)
	mustExec(t, conn, "BEGIN; UPDATE orders SET status = 'open'; DELETE FROM tills; INSERT INTO tills VALUES (5, 5)")
	s.pg.Exec("BEGIN; UPDATE stock SET pieces = 'prepared'; PREPARE TRANSACTION 'reconcile'")
	s.finds(q)
	mustExec(t, conn, "COMMIT")
	s.pg.Exec("COMMIT PREPARED 'reconcile'")
	s.finds(q)
}

// reconcilesAsAnotherRole reconciles as a role that may read nothing at first.
func (s *sidecar) reconcilesAsAnotherRole(t *testing.T) {
	role := "r_" + s.pg.Database
	s.pg.Exec("CREATE ROLE " + role + " LOGIN PASSWORD 'x'")
	defer s.pg.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role)
	s.withVerifyDSN(t, role, 4, "permission denied for table", "set verify_dsn to a role that may SELECT")
	s.pg.Exec("GRANT SELECT ON ALL TABLES IN SCHEMA public TO " + role)
	s.withVerifyDSN(t, role, 3, "public.stock 1/a")
	s.pg.Exec("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
	s.withVerifyDSN(t, role, 3, "public.stock 1/a", "row-level security", "BYPASSRLS")
	s.pg.Exec("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
}

// withVerifyDSN runs verify with another role reading the tables.
func (s *sidecar) withVerifyDSN(t *testing.T, role string, code int, texts ...string) {
	t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "postgres: {dsn:", fmt.Sprintf("postgres: {verify_dsn: %q, dsn:", s.pg.DSNAs(role, "x")), 1)
	before := s.file
	s.file = filepath.Join(harness.Folder(t), "pgwitness.yaml")
	defer func() { s.file = before }()
	if err := os.WriteFile(s.file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	s.prints(code, []string{"verify", "--reconcile"}, texts...)
}

// reconcilesUnderLoad reconciles while two sessions change the same rows.
func (s *sidecar) reconcilesUnderLoad(t *testing.T, q pgwitness.VerifyQuery) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	for n := range 2 {
		g.Go(func() error {
			conn, err := pgx.Connect(ctx, s.pg.DSN())
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			for i := 0; ctx.Err() == nil; i++ {
				_, err := conn.Exec(ctx, fmt.Sprintf(`INSERT INTO orders (id, status) VALUES (%d, 'load') ON CONFLICT (id) DO UPDATE SET status = 'load %[2]d';
					DELETE FROM orders WHERE id = %[3]d`, 5000+i%50, n*1000+i, 5000+(i+25)%50))
				if err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	for range 3 {
		s.finds(q)
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// reconcilesInParts folds the tables a few rows at a time, and must find the
// same as in one piece.
func (s *sidecar) reconcilesInParts(t *testing.T) {
	ctx := t.Context()
	s.sync(time.Minute)
	server, err := s.cfg.ClickHouse.Reader()
	if err != nil {
		t.Fatal(err)
	}
	reader := trail.New(server)
	conn := s.pg.Connect()
	defer conn.Close(ctx)
	for table, key := range map[string][]string{"orders": {"id"}, "stock": {"shop", "sku"}, "visits": nil} {
		var whole, parts trail.Reconciliation
		for size, out := range map[uint64]*trail.Reconciliation{0: &whole, 3: &parts} {
			err := trail.Snapshot(ctx, conn, func(tx pgx.Tx) (err error) {
				r := trail.Review{Stream: "shop", PartRows: size}
				of := trail.Table{Schema: "public", Name: table, Key: key, Unique: len(key) > 0, Keys: 30}
				*out, err = reader.Reconcile(ctx, tx, r, of, 30, "")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if whole.Comparison.String() != parts.Comparison.String() || whole.Same == 0 || parts.Extra+parts.Different > 0 {
			t.Errorf("%s: in one piece %s, in parts %s", table, whole.Comparison, parts.Comparison)
		}
	}
}
