package trail

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/store"
)

// Dimension is something entries are counted by.
type Dimension string

// The dimensions. Their values are names of columns of audit_logs.
const (
	ByStream       Dimension = "stream"
	ByActor        Dimension = "actor_id"
	ByActorType    Dimension = "actor_type"
	ByRole         Dimension = "actor_role"
	ByResourceType Dimension = "resource_type"
	ByAction       Dimension = "action"
	BySource       Dimension = "source"
	ByReason       Dimension = "reason_code"
)

// Count is the number of entries of one group.
type Count struct {
	Group       []string // one value per dimension; "" for NULL
	Entries     uint64
	First, Last time.Time // of their commits
}

// Counts counts the entries that f matches, by the given dimensions, greatest
// number first. The Limit of f is the greatest number of groups; those with
// the fewest entries are left out.
func (t *Trail) Counts(ctx context.Context, f Filter, by ...Dimension) ([]Count, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	groups := make([]proto.ColStr, len(by))
	var entries proto.ColUInt64
	var first, last proto.ColInt64
	var columns, numbers []string
	var results proto.Results
	for i, d := range by {
		name := fmt.Sprintf("g%d", i)
		columns = append(columns, fmt.Sprintf("ifNull(CAST(%s, 'Nullable(String)'), '') AS %s", d, name))
		numbers = append(numbers, name)
		results = append(results, proto.ResultColumn{Name: name, Data: &groups[i]})
	}
	columns = append(columns, "count() AS entries",
		"toUnixTimestamp64Micro(min(timestamp)) AS first", "toUnixTimestamp64Micro(max(timestamp)) AS last")
	results = append(results, proto.ResultColumn{Name: "entries", Data: &entries},
		proto.ResultColumn{Name: "first", Data: &first}, proto.ResultColumn{Name: "last", Data: &last})

	c := f.conditions()
	text := "SELECT " + strings.Join(columns, ", ") + " FROM audit_logs" + c.where() + " GROUP BY ALL HAVING entries > 0" +
		" ORDER BY " + strings.Join(append([]string{"entries DESC"}, numbers...), ", ")
	if n := limit(f.Limit, DefaultLimit); n > 0 {
		text += " LIMIT {limit:UInt64}"
		c.params = append(c.params, store.Param("limit", n))
	}
	var out []Count
	err := t.receive(ctx, query{text, c.params}, results, func() error {
		for i := range entries {
			n := Count{Entries: entries[i], First: time.UnixMicro(first[i]).UTC(), Last: time.UnixMicro(last[i]).UTC()}
			for _, g := range groups {
				n.Group = append(n.Group, g.Row(i))
			}
			out = append(out, n)
		}
		return nil
	})
	return out, err
}

// Coverage says for how many changes of a table it is known who made them.
type Coverage struct {
	Stream, Schema, Table string
	Changes               uint64 // of rows, and TRUNCATE
	Attributed            uint64 // the actor is more than the database user
}

// Share is the attributed part, from 0 to 1; 1 when there are no changes.
func (c Coverage) Share() float64 {
	if c.Changes == 0 {
		return 1
	}
	return float64(c.Attributed) / float64(c.Changes)
}

// Total adds up coverages; its names are empty.
func Total(cs []Coverage) Coverage {
	var sum Coverage
	for _, c := range cs {
		sum.Changes += c.Changes
		sum.Attributed += c.Attributed
	}
	return sum
}

// Coverage counts the attributed changes per table, among those that f matches,
// the table with the most unattributed changes first. Entries that are no
// change of a table (events, heartbeats, the baseline) do not count. The Limit of f does not
// apply.
func (t *Trail) Coverage(ctx context.Context, f Filter) ([]Coverage, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var stream, schema, table proto.ColStr
	var changes, attributed proto.ColUInt64
	c := f.conditions()
	c.parts = append(c.parts, "operation IN ('insert', 'update', 'delete', 'truncate')")
	text := `SELECT CAST(stream, 'String') AS s, ifNull(CAST(schema_name, 'Nullable(String)'), '') AS n, ` +
		`ifNull(CAST(table_name, 'Nullable(String)'), '') AS t, ` +
		`count() AS changes, countIf(` + isAttributed + `) AS attributed ` +
		`FROM audit_logs` + c.where() + ` GROUP BY s, n, t ORDER BY changes - attributed DESC, changes DESC, s, n, t`
	results := proto.Results{
		{Name: "s", Data: &stream}, {Name: "n", Data: &schema}, {Name: "t", Data: &table},
		{Name: "changes", Data: &changes}, {Name: "attributed", Data: &attributed},
	}
	var out []Coverage
	err := t.receive(ctx, query{text, c.params}, results, func() error {
		for i := range changes {
			out = append(out, Coverage{stream.Row(i), schema.Row(i), table.Row(i), changes[i], attributed[i]})
		}
		return nil
	})
	return out, err
}
