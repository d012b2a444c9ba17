package test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/test/harness"
)

// guarded is a stream with a guard, and a table of keys.
const guarded = `streams:
  - name: guarded
    postgres: {dsn: "${SHOP_DSN}"}
    heartbeat_interval: 0s
    tables:
      - {name: public.refunds, resource: refund}
      - {name: public.api_keys, resource: api_key, secret: [secret_hash]}
    guards:
      - name: large refund
        table: public.refunds
        operations: [insert, update]
        when: NEW.amount > 100
        action: refund
        show: [order_id, amount]
        require: {reason_code: [damaged, lost], reason_note: 10}
    actions:
      - {name: key rotated, table: api_keys, operation: update, action: key_rotated, when: "new.secret_hash != old.secret_hash"}
`

// A refund that lacks a reason is refused with a hint, and is in the sealed
// trail with who tried it, although its transaction is gone; what keys are is
// in no part of the trail.
func TestRefusedAttemptAndSecretsEndToEnd(t *testing.T) {
	t.Parallel()
	pg := harness.Postgres(t)
	pg.Exec(`CREATE TABLE refunds (id int PRIMARY KEY, order_id int, amount numeric(12,2));
		CREATE TABLE api_keys (id text PRIMARY KEY, secret_hash bytea)`)
	s := newSidecar(t, pg, harness.ClickHouse(t), guarded)
	s.start()
	ctx := context.Background()
	conn := pg.Connect()
	try := func(claims ...string) error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(ctx)
		for i := 0; i < len(claims); i += 2 {
			if _, err := tx.Exec(ctx, "SELECT set_config($1, $2, true)", "audit."+claims[i], claims[i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tx.Exec(ctx, "INSERT INTO refunds VALUES (7, 1234, 249.90)"); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}
	err := try("actor_id", "samuel", "actor_role", "finance", "ip_address", "192.0.2.10")
	var said *pgconn.PgError
	if !errors.As(err, &said) || said.Code != "PW001" || !strings.Contains(said.Hint, "audit.reason_code") {
		t.Fatalf("the client is told %v", err)
	}
	if err := try("actor_id", "samuel", "reason_code", "damaged", "reason_note", "lamp arrived broken"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, `INSERT INTO api_keys VALUES ('k1', 'f1f2f3f4f5'); UPDATE api_keys SET secret_hash = 'e1e2e3e4e5' WHERE id = 'k1'`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	pg.Exec(`SELECT pgwitness.event('login_failed', 'user', 'root', ip_address => '203.0.113.9', transactional => false)`)
	s.sync(time.Minute)

	refused := s.must("trail", "--action", "refused")
	for _, part := range []string{"samuel (finance) was refused when trying to refund refund 7", `guard "large refund" asks for reason_code, reason_note`,
		"order_id 1234, amount 249.90", "from 192.0.2.10", "no reason given"} {
		if !strings.Contains(refused, part) {
			t.Errorf("the trail says %q, which lacks %q", refused, part)
		}
	}
	for query, want := range map[string]string{
		"SELECT count() FROM audit_logs WHERE action = 'audit_tampered'":                                                  "0", // setup works for the auditor
		"SELECT count() FROM audit_logs WHERE operation = 'refused'":                                                      "1",
		"SELECT reason_note FROM audit_logs WHERE resource_type = 'refund' AND operation = 'insert'":                      "lamp arrived broken",
		"SELECT new_values FROM audit_logs WHERE action = 'key_rotated'":                                                  `{"id":"k1","secret_hash":["secret"]}`,
		"SELECT ip_address FROM audit_logs WHERE action = 'login_failed'":                                                 "203.0.113.9",
		"SELECT countIf(positionCaseInsensitive(toString(tuple(*)), '6631663266') > 0) FROM audit_logs":                   "0", // f1f2f in hexadecimal
		"SELECT countIf(positionCaseInsensitive(toString(tuple(*)), '6531653265') > 0) FROM audit_logs":                   "0",
		"SELECT count() > 0 FROM audit_logs WHERE action = 'create' AND new_values LIKE '%[\"secret\"]%'":                 "1",
		"SELECT table_name FROM audit_logs WHERE operation = 'refused'":                                                   "refunds",
		"SELECT JSONExtractString(assumeNotNull(attribution), 'refused_action') FROM audit_logs WHERE action = 'refused'": "refund",
	} {
		if got := s.query(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	s.must("verify")
}
