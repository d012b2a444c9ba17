package demo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/test/harness"
)

// witnessed makes the database write down, for each statement on orders and
// refunds, what can be known there of who sent it.
const witnessed = `
CREATE TABLE witnessed (n int GENERATED ALWAYS AS IDENTITY, what text);
GRANT INSERT ON witnessed TO PUBLIC;
CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witnessed (what) VALUES (concat_ws(' | ', lower(TG_OP) || ' ' || TG_TABLE_NAME, current_setting('application_name'),
        session_user, nullif(current_setting('audit.actor_email', true), ''), nullif(current_setting('audit.actor_role', true), ''),
        nullif(current_setting('audit.reason_code', true), ''), nullif(current_setting('audit.reason_note', true), ''),
        current_setting('audit.context', true)::json ->> 'actor_id',
        substring(current_query() FROM 'action=''(\w+)'''), substring(current_query() FROM 'traceparent=''00-(\w+)-')));
    RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON refunds FOR EACH STATEMENT EXECUTE FUNCTION witness();`

func TestHeroMeetsEverybody(t *testing.T) {
	pg := harness.Postgres(t)
	cfg := DefaultConfig()
	cfg.Duration = 1 // over before the first deed: the hero is alone
	shop, _ := openShop(t, pg, cfg)
	pg.Exec(witnessed)
	if err := shop.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	hero := shop.Hero()
	if !hero.Complete || hero.OrderID != 1234 || hero.RefundID == 0 {
		t.Fatalf("the story ended as %+v", hero)
	}
	var programs []string
	for _, step := range hero.Steps {
		programs = append(programs, step.Program)
	}
	want := []string{"storefront", "storefront", "storefront", "admin-panel", "shopify-connector", "partner-api", "psql", "admin-panel"}
	if diff := cmp.Diff(want, programs); diff != "" {
		t.Errorf("programs of the steps (-want +got):\n%s", diff)
	}
	for query, want := range map[string]string{
		"SELECT status || ' ' || total || ' ' || discount || ' ' || note FROM orders WHERE id = $1":                 "refunded 199.90 50.00 arrived broken",
		"SELECT string_agg(new_status::text, ' ' ORDER BY id) FROM order_status_history WHERE order_id = $1":        "paid approved shipped refunded",
		"SELECT string_agg(amount::text, ' ') FROM payments WHERE order_id = $1":                                    "249.90",
		"SELECT string_agg(amount || ' ' || status, ' ') FROM refunds WHERE order_id = $1":                          "199.90 paid_out",
		"SELECT sum(line_total)::text FROM order_lines WHERE order_id = $1":                                         "249.90",
		"SELECT full_name FROM customers WHERE id = (SELECT customer_id FROM orders WHERE id = $1)":                 "Greta Lindqvist",
		"SELECT count(*)::text FROM witnessed WHERE what LIKE '%" + hero.Trace + "' AND $1::bigint > 0":             "2",
		"SELECT warehouse_code || ' ' || carrier FROM shipments WHERE order_id = $1":                                "RTM PostNL",
		"SELECT email FROM users WHERE id = (SELECT approved_by FROM orders WHERE id = $1)":                         heroManager,
		"SELECT email FROM users WHERE id = (SELECT approved_by FROM refunds WHERE order_id = $1 ORDER BY id DESC)": heroClerk,
	} {
		if got := pg.Value(query, hero.OrderID); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", query, got, want)
		}
	}
	got := pg.Value(`SELECT string_agg(what, E'\n' ORDER BY n) FROM witnessed WHERE what ~ 'orders|refunds'`)
	if diff := cmp.Diff(heroAsWitnessed(hero.Trace), got); diff != "" {
		t.Errorf("what the database saw (-want +got):\n%s", diff)
	}
}

func heroAsWitnessed(trace string) string {
	return strings.Join([]string{
		"insert orders | storefront | storefront | place_order | " + trace,
		"update orders | storefront | storefront | capture | " + trace,
		"update orders | admin-panel | admin_panel | tomas.berg@shop.example | operations_manager",
		"update orders | shopify-connector | shopify",
		"update orders | partner-api | admin_panel | api:rotterdam-logistics",
		"update orders | psql | dba_bob",
		"insert refunds | admin-panel | admin_panel | samuel.okafor@shop.example | finance | damaged_in_transit | Lamp arrived broken; photo in ticket 48213",
		"update orders | admin-panel | admin_panel | samuel.okafor@shop.example | finance | damaged_in_transit | Lamp arrived broken; photo in ticket 48213",
	}, "\n")
}
