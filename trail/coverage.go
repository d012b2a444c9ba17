package trail

import (
	"context"

	"github.com/ClickHouse/ch-go/proto"
)

// actorSource is the source of the actor of an entry, in SQL; the view
// attribution_coverage says the same.
const actorSource = `splitByChar(':', JSONExtractString(ifNull(attribution, ''), 'actor_id'))[1]`

// isAttributed holds for entries whose actor is more than the database user.
const isAttributed = actorSource + ` NOT IN ('', 'none', 'observed')`

// SourceCount is the number of changes whose actor is known from one source.
type SourceCount struct {
	Source  string `json:"source"` // session, preset, comment, row, rule, observed, none
	Changes uint64 `json:"changes"`
}

// Sources counts the changes that f matches by how their actor is known, the
// most frequent source first. What is no change of a table does not count.
func (t *Trail) Sources(ctx context.Context, f Filter) ([]SourceCount, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var source proto.ColStr
	var changes proto.ColUInt64
	c := f.conditions()
	c.parts = append(c.parts, "table_name IS NOT NULL AND operation NOT IN ('baseline', 'event')")
	text := `SELECT if(` + actorSource + ` = '', 'none', ` + actorSource + `) AS source, count() AS changes FROM audit_logs` +
		c.where() + ` GROUP BY source ORDER BY changes DESC, source`
	var out []SourceCount
	err := t.receive(ctx, query{text, c.params}, proto.Results{{Name: "source", Data: &source}, {Name: "changes", Data: &changes}}, func() error {
		for i := range changes {
			out = append(out, SourceCount{source.Row(i), changes[i]})
		}
		return nil
	})
	return out, err
}

// Offender is a connection whose changes are not attributed.
type Offender struct {
	Table       string `json:"table"`
	DBUser      string `json:"db_user,omitempty"` // empty: no stamp
	Application string `json:"application,omitempty"`
	Changes     uint64 `json:"changes"` // not attributed
}

// Offenders are the three kinds of connections with the most unattributed
// changes among those that f matches.
func (t *Trail) Offenders(ctx context.Context, f Filter) ([]Offender, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var table, user, application proto.ColStr
	var changes proto.ColUInt64
	c := f.conditions()
	c.parts = append(c.parts, "table_name IS NOT NULL AND operation NOT IN ('baseline', 'event')", "NOT ("+isAttributed+")")
	text := `SELECT concat(ifNull(CAST(schema_name, 'Nullable(String)'), ''), '.', ifNull(CAST(table_name, 'Nullable(String)'), '')) AS t, ` +
		`ifNull(CAST(db_user, 'Nullable(String)'), '') AS u, ` +
		`replaceRegexpOne(ifNull(CAST(application_name, 'Nullable(String)'), ''), ' - [^ ]*:[0-9]+$', '') AS a, count() AS changes FROM audit_logs` +
		c.where() + ` GROUP BY t, u, a ORDER BY changes DESC, t, u, a LIMIT 3`
	results := proto.Results{{Name: "t", Data: &table}, {Name: "u", Data: &user}, {Name: "a", Data: &application}, {Name: "changes", Data: &changes}}
	var out []Offender
	err := t.receive(ctx, query{text, c.params}, results, func() error {
		for i := range changes {
			out = append(out, Offender{table.Row(i), user.Row(i), application.Row(i), changes[i]})
		}
		return nil
	})
	return out, err
}
