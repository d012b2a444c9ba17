package trail

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

func TestFilters(t *testing.T) {
	b := newBook(t)
	hostile := `x' OR 1=1 --\` + "\t\n"
	b.write(
		customer(at("insert", "create", "", `{"id":1234}`)),                                                                            // 0
		reason(alice(at("update", "refund", `{"id":1234,"status":"paid"}`, `{"id":1234,"status":"refunded"}`, "status")), "fraud", ""), // 1
		alice(at("update", "update", `{"id":1234,"note":"a"}`, `{"id":1234,"note":"b"}`, "note")),                                      // 2
		resource(shopify(at("insert", "create", "", `{"id":7}`)), "product", "7"),                                                      // 3
		psql(at("delete", "delete", `{"id":1234}`, "")),                                                                                // 4
		event(alice(at("event", "login", "", ""))),                                                                                     // 5
		resource(psql(at("insert", "create", "", `{}`)), "order", hostile),                                                             // 6
	)
	two := uint64(2)
	tests := []struct {
		name   string
		filter Filter
		want   []uint64
	}{
		{"all", Filter{}, []uint64{0, 1, 2, 3, 4, 5, 6}},
		{"stream", Filter{Stream: "shop"}, []uint64{0, 1, 2, 3, 4, 5, 6}},
		{"another stream", Filter{Stream: "other"}, nil},
		{"resource", Filter{ResourceType: "order", ResourceID: "1234"}, []uint64{0, 1, 2, 4}},
		{"type", Filter{ResourceType: "product"}, []uint64{3}},
		{"id that looks like SQL", Filter{ResourceType: "order", ResourceID: hostile}, []uint64{6}},
		{"actor by id", Filter{Actor: "Alice Chen"}, []uint64{1, 2, 5}},
		{"actor by e-mail", Filter{Actor: "alice@shop.example"}, []uint64{1, 2, 5}},
		{"actor type", Filter{ActorType: "unknown"}, []uint64{4, 6}},
		{"action", Filter{Action: "refund"}, []uint64{1}},
		{"operation", Filter{Operation: "insert"}, []uint64{0, 3, 6}},
		{"table", Filter{Table: "orders", Operation: "delete"}, []uint64{4}},
		{"table with schema", Filter{Table: "public.orders", Operation: "delete"}, []uint64{4}},
		{"table of another schema", Filter{Table: "sales.orders"}, nil},
		{"changed column", Filter{Column: "status"}, []uint64{1}},
		{"reason", Filter{Reason: "fraud"}, []uint64{1}},
		{"no reason", Filter{NoReason: true}, []uint64{0, 2, 3, 4, 6}},
		{"since", Filter{Since: second(4)}, []uint64{4, 5, 6}},
		{"until", Filter{Until: second(2)}, []uint64{0, 1}},
		{"since and until", Filter{Since: second(1), Until: second(3)}, []uint64{1, 2}},
		{"from a sequence", Filter{From: &two, Actor: "Alice Chen"}, []uint64{2, 5}},
		{"newest first", Filter{Newest: true, Stream: "shop"}, []uint64{6, 5, 4, 3, 2, 1, 0}},
		{"the newest few, oldest first", Filter{Limit: 3}, []uint64{4, 5, 6}},
		{"the newest few of a stream", Filter{Limit: 3, Stream: "shop"}, []uint64{4, 5, 6}},
		{"the newest few, newest first", Filter{Limit: 2, Newest: true}, []uint64{6, 5}},
		{"without a limit", Filter{Limit: -1, Stream: "shop"}, []uint64{0, 1, 2, 3, 4, 5, 6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, b.sequences(tt.filter)); diff != "" {
				t.Errorf("sequences differ (-want +got):\n%s", diff)
			}
		})
	}
	for n, want := range map[int]bool{6: true, 7: false, 8: false, -1: false} {
		if got, err := b.More(t.Context(), Filter{Limit: n}); err != nil || got != want {
			t.Errorf("More with limit %d of 7 entries: got %v, %v, want %v", n, got, err, want)
		}
	}
}

// A reader may leave in the middle, and a context may end.
func TestEntriesCanBeLeft(t *testing.T) {
	b := newBook(t)
	for range 3000 {
		e := shopify(at("insert", "create", "", `{"id":1}`))
		b.columns.Append(&e)
	}
	b.send()
	for _, err := range b.Entries(t.Context(), Filter{Limit: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range b.Entries(ctx, Filter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for want, f := range map[string]Filter{
		"a resource id without its type": {ResourceID: "1234"},
		"is not before until":            {Since: second(5), Until: second(4)},
		"both a reason and no reason":    {Reason: "fraud", NoReason: true},
	} {
		err := f.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || audit.Hint(err) == "" {
			t.Errorf("got %v with hint %q, want %q and a hint", err, audit.Hint(err), want)
		}
		for e, got := range New(store.Server{}).Entries(t.Context(), f) {
			if e != nil || got == nil {
				t.Errorf("a bad filter yields %v, %v", e, got)
			}
		}
	}
}

func TestCounts(t *testing.T) {
	b := newBook(t)
	b.write(
		alice(at("insert", "create", "", `{}`)), alice(at("insert", "create", "", `{}`)),
		alice(at("update", "refund", "", `{}`)), shopify(at("insert", "create", "", `{}`)),
		resource(psql(at("insert", "create", "", `{}`)), "order", ""), bypass(at("insert", "create", "", `{}`)),
		event(alice(at("event", "login", "", ""))),
	)
	got, err := b.Counts(t.Context(), Filter{Table: "orders"}, ByActor, ByAction)
	if err != nil {
		t.Fatal(err)
	}
	want := []Count{
		{[]string{"Alice Chen", "create"}, 2, second(0).UTC(), second(1).UTC()},
		{[]string{"Alice Chen", "refund"}, 1, second(2).UTC(), second(2).UTC()},
		{[]string{"api:shopify-connector", "create"}, 1, second(3).UTC(), second(3).UTC()},
		{[]string{"db:postgres", "create"}, 1, second(4).UTC(), second(4).UTC()},
		{[]string{"unknown", "create"}, 1, second(5).UTC(), second(5).UTC()},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	total, err := b.Counts(t.Context(), Filter{})
	if err != nil || len(total) != 1 || total[0].Entries != 7 {
		t.Errorf("total: got %v, %v, want 7", total, err)
	}
	if none, err := b.Counts(t.Context(), Filter{Stream: "other"}, ByReason); err != nil || none != nil {
		t.Errorf("counts of nothing: got %v, %v", none, err)
	}
	if few, err := b.Counts(t.Context(), Filter{Limit: 1}, ByStream, ByActorType, ByRole, ByResourceType, BySource, ByReason); err != nil || len(few) != 1 {
		t.Errorf("one group: got %v, %v", few, err)
	}

	covered, err := b.Coverage(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Coverage{{"shop", "public", "orders", 6, 4}}, covered); diff != "" {
		t.Errorf("coverage differs (-want +got):\n%s", diff)
	}
	if share := Total(covered).Share(); share < 0.66 || share > 0.67 {
		t.Errorf("share: got %v, want 4 of 6", share)
	}
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 41, 7, 123456000, time.UTC)
	span := func(from, to string) Moment {
		t.Helper()
		a, errA := time.Parse(time.RFC3339Nano, from)
		b, errB := time.Parse(time.RFC3339Nano, to)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		return Moment{a, b}
	}
	instant := func(at string) Moment { t.Helper(); return span(at, at) }
	tests := map[string]Moment{
		"2026-11-23":                     span("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
		"2026-11":                        span("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
		"2026-11-23 08:41":               span("2026-11-23T08:41:00Z", "2026-11-23T08:42:00Z"),
		"2026-11-23T08:41:07Z":           span("2026-11-23T08:41:07Z", "2026-11-23T08:41:08Z"),
		"2026-11-23T08:41:07.5Z":         span("2026-11-23T08:41:07.5Z", "2026-11-23T08:41:07.6Z"),
		"2026-11-23T10:41:07+02:00":      span("2026-11-23T08:41:07Z", "2026-11-23T08:41:08Z"),
		"2026-11-23 10:41:07.123+02":     span("2026-11-23T08:41:07.123Z", "2026-11-23T08:41:07.124Z"),
		"2026-11-23 08:41:07.123456 UTC": span("2026-11-23T08:41:07.123456Z", "2026-11-23T08:41:07.123457Z"),
		"2026-11-23T08:41:07.123456789Z": span("2026-11-23T08:41:07.123456Z", "2026-11-23T08:41:07.123457Z"),
		"today":                          span("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
		" Yesterday ":                    span("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
		"now":                            instant("2026-11-23T08:41:07.123456Z"),
		"2h":                             instant("2026-11-23T06:41:07.123456Z"),
		"1h30m":                          instant("2026-11-23T07:11:07.123456Z"),
		"1 hour 30 minutes ago":          instant("2026-11-23T07:11:07.123456Z"),
		"an hour ago":                    instant("2026-11-23T07:41:07.123456Z"),
		"3 days ago":                     instant("2026-11-20T08:41:07.123456Z"),
		"3d":                             instant("2026-11-20T08:41:07.123456Z"),
		"2 weeks and 1 day ago":          instant("2026-11-08T08:41:07.123456Z"),
		"3 months ago":                   instant("2026-08-23T08:41:07.123456Z"),
		"1y":                             instant("2025-11-23T08:41:07.123456Z"),
	}
	for text, want := range tests {
		got, err := ParseMoment(text, now)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q differs (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"", "ago", "soon", "2026-13-01", "2026-11-23T25:00:00Z", "5", "5 parsecs", "h", "-2h", "1969-12-31", "3000-01-01",
		"99999999999999999999 days ago", "900000 days", "2h ago ago", "\x1b[2J"} {
		_, err := ParseMoment(text, now)
		if err == nil || audit.Hint(err) == "" {
			t.Errorf("%q: got %v with hint %q, want an error and a hint", text, err, audit.Hint(err))
		}
		if err != nil && slices.ContainsFunc([]rune(err.Error()), func(r rune) bool { return !printable(r) }) {
			t.Errorf("%q reaches the terminal in %q", text, err)
		}
	}
}
