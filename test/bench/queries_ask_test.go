package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/trail"
)

// subjects are what is asked for, found among the stored entries.
type subjects struct {
	order, actor string
	moment       time.Time // at which the state of the order is wanted
	month        [2]time.Time
	sequence     uint64
}

// hot is what is changed most often, and rare whom hardly anything is of.
const hot, rare = "SKU-000000", "user:visitor"

// question is asked of the product, in SQL as an analyst writes it, and of an
// audit table in PostgreSQL.
type question struct {
	name   string
	goal   float64 // milliseconds
	filter *trail.Filter
	state  *trail.StateQuery
	sql    string // of the analyst, {…} filled in
	// from is where the answer must be read from: the name of a projection, or
	// audit_logs.
	from     string
	postgres string
}

// lookAround finds somebody and something in the middle of the trail.
func (a *archive) lookAround() subjects {
	a.t.Helper()
	s := subjects{sequence: uint64(a.entries / 2)}
	middle := fmt.Sprintf(" FROM %s WHERE sequence >= %d AND ", a.table(), s.sequence)
	s.order = a.ch.Value("SELECT resource_id" + middle + "resource_type = 'order' AND operation = 'insert' ORDER BY sequence LIMIT 1")
	// One of the people who are neither busiest nor idle.
	s.actor = a.ch.Value("SELECT actor_id" + middle + "actor_id LIKE 'user:11%' ORDER BY sequence LIMIT 1")
	at := func(expression string) time.Time {
		v, err := time.Parse(time.RFC3339, a.ch.Value("SELECT formatDateTime("+expression+", '%Y-%m-%dT%H:%i:%SZ')"+middle+"1 ORDER BY sequence LIMIT 1"))
		if err != nil {
			a.t.Fatal(err)
		}
		return v
	}
	s.month = [2]time.Time{at("toStartOfMonth(timestamp)"), at("addMonths(toStartOfMonth(timestamp), 1)")}
	s.moment = at("timestamp + INTERVAL 6 HOUR")
	return s
}

// questions are those of the goals, and two of analysts.
func (s subjects) questions() []question {
	const listed = "SELECT timestamp, actor_id, action, resource_type, resource_id, old_values, new_values, source, reason_code FROM audit_logs WHERE stream = 'shop' AND "
	const told = "SELECT * FROM audit_trail WHERE "
	month := "timestamp >= '{from}' AND timestamp < '{to}'"
	last := " ORDER BY stream DESC, sequence DESC LIMIT 1000"
	return []question{
		{name: "history of one resource", goal: 15, filter: &trail.Filter{ResourceType: "order", ResourceID: s.order},
			sql: listed + "resource_type = 'order' AND resource_id = '{order}'" + last, from: "by_resource",
			postgres: told + "resource_type = 'order' AND resource_id = '{order}' ORDER BY id DESC LIMIT 1000"},
		{name: "a hot resource, one month", goal: 15, filter: &trail.Filter{ResourceType: "stock", ResourceID: hot, Since: s.month[0], Until: s.month[1]},
			sql: listed + "resource_type = 'stock' AND resource_id = '{hot}' AND " + month + last, from: "by_resource",
			postgres: told + "resource_type = 'stock' AND resource_id = '{hot}' AND " + month + " ORDER BY id DESC LIMIT 1000"},
		{name: "a hot resource, one month, day by day", goal: 15, from: "by_resource",
			sql:      "SELECT toDate(timestamp) AS day, count(), uniq(actor_id), countIf(action = 'adjust') FROM audit_logs WHERE resource_type = 'stock' AND resource_id = '{hot}' AND " + month + " GROUP BY day ORDER BY day",
			postgres: "SELECT timestamp::date AS day, count(*), count(DISTINCT actor_id), count(*) FILTER (WHERE action = 'adjust') FROM audit_trail WHERE resource_type = 'stock' AND resource_id = '{hot}' AND " + month + " GROUP BY day ORDER BY day"},
		{name: "state of an order at T", goal: 15, state: &trail.StateQuery{Stream: "shop", ResourceType: "order", ResourceID: s.order, At: s.moment, Key: []string{"id"}},
			sql: listed + "resource_type = 'order' AND resource_id = '{order}' AND timestamp <= '{moment}' ORDER BY sequence", from: "by_resource",
			postgres: told + "resource_type = 'order' AND resource_id = '{order}' AND timestamp <= '{moment}' ORDER BY id"},
		{name: "actor x type x month", goal: 15, filter: &trail.Filter{Actor: s.actor, ResourceType: "stock", Since: s.month[0], Until: s.month[1]},
			sql: listed + "actor_id = '{actor}' AND resource_type = 'stock' AND " + month + last, from: "by_actor",
			postgres: told + "actor_id = '{actor}' AND resource_type = 'stock' AND " + month + " ORDER BY id DESC LIMIT 1000"},
		{name: "all of a rare actor", goal: 30, filter: &trail.Filter{Actor: rare},
			sql: listed + "actor_id = '{rare}'" + last, from: "by_actor",
			postgres: told + "actor_id = '{rare}' ORDER BY id DESC LIMIT 1000"},
		{name: "latest 50", goal: 40, filter: &trail.Filter{Limit: 50},
			sql: listed + "1 ORDER BY stream DESC, sequence DESC LIMIT 50", from: "audit_logs",
			postgres: told + "true ORDER BY id DESC LIMIT 50"},
		{name: "1,000 by sequence", goal: 30, from: "audit_logs",
			sql:      "SELECT * FROM audit_logs WHERE stream = 'shop' AND sequence >= {sequence} AND sequence < {sequence} + 1000 ORDER BY sequence",
			postgres: told + "id >= {sequence} AND id < {sequence} + 1000 ORDER BY id"},
		{name: "who refunds most, all months", from: "",
			sql:      "SELECT actor_id, count() AS refunds FROM audit_logs WHERE action = 'refund' GROUP BY actor_id ORDER BY refunds DESC, actor_id LIMIT 10",
			postgres: "SELECT actor_id, count(*) AS refunds FROM audit_trail WHERE action = 'refund' GROUP BY actor_id ORDER BY refunds DESC, actor_id LIMIT 10"},
	}
}

// fill puts the subjects into a question.
func (s subjects) fill(text string) string {
	const form = "2006-01-02 15:04:05"
	return strings.NewReplacer("{order}", s.order, "{actor}", s.actor, "{hot}", hot, "{rare}", rare, "{from}", s.month[0].Format(form), "{to}", s.month[1].Format(form),
		"{moment}", s.moment.Format(form), "{sequence}", fmt.Sprint(s.sequence)).Replace(text)
}

// byProduct asks as the verbs do, and returns the sequences of the answer.
func (a *archive) byProduct(t *trail.Trail, q question) []uint64 {
	a.t.Helper()
	if q.state != nil {
		state, err := t.State(a.t.Context(), *q.state)
		if err != nil || state.Standing != trail.Exists || !state.Complete {
			a.t.Fatalf("%s: %+v, %v", q.name, state, err)
		}
		return []uint64{state.Changed.Sequence}
	}
	f := *q.filter
	f.Stream = "shop"
	var got []uint64
	for e, err := range t.Entries(a.t.Context(), f) {
		if err != nil {
			a.t.Fatalf("%s: %v", q.name, err)
		}
		got = append(got, e.Sequence)
		if len(e.NewValues) == 0 || e.ActorID == nil {
			a.t.Fatalf("%s: entry %d came without its values", q.name, e.Sequence)
		}
	}
	return got
}

// rows reads an answer to the end.
func (a *archive) rows(conn driver.Conn, query string) (n int) {
	a.t.Helper()
	rows, err := conn.Query(a.t.Context(), query)
	if err != nil {
		a.t.Fatalf("%v in\n%s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil {
		a.t.Fatalf("%v in\n%s", err, query)
	}
	return n
}

// hold checks that each answer is what the table itself says, and comes from
// where it is meant to come from.
func (a *archive) hold() {
	a.t.Helper()
	plain, err := store.Parse(a.ch.DSN("reader") + "?optimize_use_projections=0")
	if err != nil {
		a.t.Fatal(err)
	}
	for _, q := range a.known.questions() {
		query := a.known.fill(q.sql)
		sums := "SELECT toString((count(), groupBitXor(cityHash64(*)))) FROM (" + query + ")"
		in := func(settings string) string {
			return a.ch.Value(strings.Replace(sums, " FROM audit_logs", " FROM "+a.table(), 1) + settings)
		}
		if got, want := in(""), in(" SETTINGS optimize_use_projections = 0"); got != want || strings.HasPrefix(want, "(0,") {
			a.t.Errorf("%s: %s, the table itself says %s", q.name, got, want)
		}
		plan := a.ch.Value("SELECT arrayStringConcat(groupArray(explain), '\n') FROM (EXPLAIN " + strings.Replace(query, " FROM audit_logs", " FROM "+a.table(), 1) + ")")
		if q.from != "" && !strings.Contains(plan, q.from+")") {
			a.t.Errorf("%s is not read from %s:\n%s", q.name, q.from, plan)
		}
		if q.filter == nil && q.state == nil {
			continue
		}
		got, want := a.byProduct(a.trail, q), a.byProduct(trail.New(plain), q)
		if len(got) == 0 || !slices.Equal(got, want) {
			a.t.Errorf("%s: the product finds %d entries %.200v, in the table itself %d %.200v", q.name, len(got), got, len(want), want)
		}
	}
	a.holdSealed()
}

// holdSealed checks that an entry whose seal is wanted has it.
func (a *archive) holdSealed() {
	a.t.Helper()
	for e, err := range a.trail.Entries(a.t.Context(), trail.Filter{Stream: "shop", ResourceType: "order", ResourceID: a.known.order, Sealed: true}) {
		if err != nil {
			a.t.Fatal(err)
		}
		want := a.ch.Value(fmt.Sprintf("SELECT concat(hex(entry_hash), ' ', toString(commit_lsn)) FROM %s WHERE stream = 'shop' AND sequence = %d", a.table(), e.Sequence))
		if got := fmt.Sprintf("%X %d", e.Hash[:], uint64(e.CommitLSN)); got != want || e.Salt == (audit.Salt{}) {
			a.t.Errorf("entry %d is %s, want %s", e.Sequence, got, want)
		}
	}
}

// ask measures every question, each asked several times in a row, the first of
// them unmeasured, and all of them again in every run.
func (a *archive) ask(table *auditTrail, runs int) string {
	a.t.Helper()
	conn, err := a.reader.Open(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	defer conn.Close()
	const title = "questions, milliseconds"
	const product, analyst, postgres = "product", "SQL", "PostgreSQL"
	clock := func(q question, who string, ask func()) {
		ask()
		for range 3 {
			began := time.Now()
			ask()
			a.report.Add(title, q.name, who, time.Since(began).Seconds()*1000)
		}
	}
	b := Block{Workload: title, Metrics: []string{product, analyst, postgres}}
	all := a.known.questions()
	for range runs {
		for _, q := range all {
			if q.filter != nil || q.state != nil {
				clock(q, product, func() { a.byProduct(a.trail, q) })
			}
			clock(q, analyst, func() { a.rows(conn, a.known.fill(q.sql)) })
			if table != nil {
				clock(q, postgres, func() { table.ask(q) })
			}
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s, medians of %d warm ones; product: as pgwitness trail and state ask, over the network to Go; PostgreSQL: an audit table of the same entries\n", title, 3*runs)
	for _, q := range all {
		b.Variants = append(b.Variants, q.name)
		own, sql, theirs := a.report.Median(title, q.name, product), a.report.Median(title, q.name, analyst), a.report.Median(title, q.name, postgres)
		asked := "      -"
		if own > 0 {
			asked = fmt.Sprintf("%7.1f", own)
		}
		fmt.Fprintf(&text, "%-40s  product %s  SQL %7.1f", q.name, asked, sql)
		if table != nil {
			fmt.Fprintf(&text, "  PostgreSQL %8.1f (%.1fx SQL)", theirs, theirs/sql)
		}
		if q.goal > 0 {
			fmt.Fprintf(&text, "  goal %.0f: SQL %s", q.goal, verdictOf(sql <= q.goal))
		}
		if q.goal > 0 && own > 0 {
			fmt.Fprintf(&text, ", product %s", verdictOf(own <= q.goal))
		}
		if theirs > slowMillis {
			fmt.Fprintf(&text, "  goal %.0fx: %s", faster, verdictOf(theirs >= faster*sql))
		}
		text.WriteString("\n")
	}
	a.report.Summarise(b)
	return text.String()
}

func verdictOf(met bool) string {
	if met {
		return "met"
	}
	return "NOT met"
}
