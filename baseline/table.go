package baseline

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

//go:embed tables.sql
var tablesSQL string

//go:embed relation.sql
var relationSQL string

// table is a published table.
type table struct {
	ID           uint32
	Schema, Name string
	Partitioned  bool   // its rows lie in partitions that are published in its name
	Identity     string // REPLICA IDENTITY
	Estimate     uint64
	Version      string
	Rewritten    string // the transaction that last gave rows other values without a row in the log; ""
	Shape        string // differs when columns or their types do
	Told         bool   // Rewritten tells; the shape need not
	Filter       string // of the publication; ""
	Columns      string // JSON; "": all
	Generated    bool   // and the stored generated ones
	Key          []keyColumn
}

// keyColumn is a column of the key, and how the index orders by it.
type keyColumn struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Collation string `json:"collation"`
	Less      string `json:"less"`
	Greater   string `json:"greater"`
}

func (t *table) title() string { return t.Schema + "." + t.Name }

// sql is the table without those that inherit from it: they are published by
// themselves.
func (t *table) sql() string {
	if t.Partitioned {
		return quoted(t.Schema, t.Name)
	}
	return "ONLY " + quoted(t.Schema, t.Name)
}

func (t *table) key() []string {
	names := make([]string, len(t.Key))
	for i, k := range t.Key {
		names[i] = k.Name
	}
	return names
}

// tables lists what is published.
func (c *session) tables(ctx context.Context, publication string) ([]table, error) {
	// First: of what is written anew between the two, nothing is taken for read.
	told, err := c.rewrites(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.ask(ctx, "list published tables", strings.ReplaceAll(tablesSQL, "$1", literal(publication)))
	if err != nil {
		return nil, err
	}
	list := make([]table, len(r.rows))
	for i := range list {
		id, err := strconv.ParseUint(r.at(i, "id"), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("list published tables: %w", err)
		}
		estimate, err := strconv.ParseUint(r.at(i, "estimate"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("list published tables: %w", err)
		}
		list[i] = table{
			ID: uint32(id), Schema: r.at(i, "schema"), Name: r.at(i, "name"), Partitioned: r.at(i, "partitioned") == "t",
			Identity: r.at(i, "identity"), Estimate: estimate, Version: r.at(i, "version"), Shape: r.at(i, "shape"),
			Filter: r.at(i, "filter"), Columns: r.at(i, "columns"), Generated: r.at(i, "generated") == "t",
		}
		if key := r.at(i, "key"); key != "" {
			if err := json.Unmarshal([]byte(key), &list[i].Key); err != nil {
				return nil, fmt.Errorf("list published tables: read key of %s: %w", list[i].title(), err)
			}
		}
	}
	for i := range list {
		last, known := told.last[list[i].ID]
		list[i].Rewritten, list[i].Told = last, known && told.watched
	}
	return list, nil
}

// errHidden says that rows cannot be told apart by what is published of them.
var errHidden = errors.New("rows cannot be told apart")

// errAnother says that the table was renamed, or lost its columns.
var errAnother = errors.New("it is another table now")

// look is a table as one snapshot has it.
type look struct {
	relation *audit.Relation
	snapshot audit.Snapshot
	position audit.LSN
}

// relation describes t in the snapshot of the transaction.
func (c *session) relation(ctx context.Context, t *table) (look, error) {
	columns := "NULL"
	if t.Columns != "" {
		columns = literal(t.Columns)
	}
	text := strings.NewReplacer("$1", strconv.FormatUint(uint64(t.ID), 10), "$2", columns, "$3", strconv.FormatBool(t.Generated)).Replace(relationSQL)
	r, err := c.ask(ctx, "describe table", text)
	if err != nil {
		return look{}, err
	}
	if len(r.rows) == 0 || r.value("schema") != t.Schema || r.value("name") != t.Name {
		return look{}, fmt.Errorf("describe table: %s: %w", t.title(), errAnother)
	}
	l := look{relation: relationOf(t, r)}
	for _, k := range t.Key {
		if !slices.ContainsFunc(l.relation.Columns, func(c audit.Column) bool { return c.Name == k.Name }) {
			return look{}, fmt.Errorf("describe table: the publication leaves out the key column %s: %w", k.Name, errHidden)
		}
	}
	if l.snapshot, err = audit.ParseSnapshot(r.value("snapshot")); err != nil {
		return look{}, err
	}
	l.position, err = audit.ParseLSN(r.value("position"))
	return l, err
}

// relationOf makes of the rows of relation.sql what cdc makes of the messages of
// the log: the key is the primary key, or else that of the replica identity.
func relationOf(t *table, r *result) *audit.Relation {
	rel := &audit.Relation{
		ID: t.ID, Schema: r.value("schema"), Name: r.value("name"), Identity: (r.value("identity") + "d")[0],
		RootSchema: r.value("root_schema"), RootName: r.value("root_name"),
	}
	places := make(map[int]int)
	for i := range r.rows {
		oid, _ := strconv.ParseUint(r.at(i, "column_type"), 10, 32)    // an OID is a number
		mod, _ := strconv.ParseInt(r.at(i, "column_modifier"), 10, 32) // as is this
		rel.Columns = append(rel.Columns, audit.Column{Name: r.at(i, "column_name"), TypeOID: uint32(oid), TypeMod: int32(mod)})
		if place, _ := strconv.Atoi(r.at(i, "key_place")); place > 0 {
			places[place] = i
		}
	}
	for place := 1; ; place++ {
		i, ok := places[place]
		if !ok {
			break
		}
		rel.Key = append(rel.Key, i)
	}
	if len(rel.Key) == 0 {
		for i, column := range rel.Columns {
			for _, k := range t.Key {
				if k.Name == column.Name {
					rel.Key = append(rel.Key, i)
				}
			}
		}
	}
	return rel
}

// query reads the rows behind a key, in order.
func (t *table) query(rel *audit.Relation, after []string, limit int) string {
	names := make([]string, len(rel.Columns))
	for i, column := range rel.Columns {
		names[i] = quoted(column.Name)
	}
	var conditions []string
	if t.Filter != "" {
		conditions = append(conditions, "("+t.Filter+")")
	}
	if len(after) > 0 && len(after) == len(t.Key) {
		conditions = append(conditions, t.behind(after))
	}
	text := "SELECT " + strings.Join(names, ", ") + " FROM " + t.sql()
	if len(conditions) > 0 {
		text += " WHERE " + strings.Join(conditions, " AND ")
	}
	if len(t.Key) > 0 {
		order := make([]string, len(t.Key))
		for i, k := range t.Key {
			order[i] = k.sql() + " USING " + k.Less
		}
		text += " ORDER BY " + strings.Join(order, ", ")
	}
	return text + " LIMIT " + strconv.Itoa(limit)
}

func (k *keyColumn) sql() string {
	if k.Collation != "" {
		return quoted(k.Name) + " COLLATE " + k.Collation
	}
	return quoted(k.Name)
}

// behind is the condition that a row comes after the key. Where all columns are
// ordered by the operators of one name, as nearly always, it is a comparison of
// rows, which an index serves; else it is spelled out.
func (t *table) behind(after []string) string {
	same := true
	names, values := make([]string, len(t.Key)), make([]string, len(t.Key))
	for i := range t.Key {
		k := &t.Key[i]
		names[i], values[i] = k.sql(), literal(after[i])+"::"+k.Type
		same = same && k.Greater == t.Key[0].Greater
	}
	if same {
		return "ROW(" + strings.Join(names, ", ") + ") " + t.Key[0].Greater + " ROW(" + strings.Join(values, ", ") + ")"
	}
	var ways []string
	for i := range t.Key {
		var parts []string
		for j := range i {
			parts = append(parts, "NOT "+names[j]+" "+t.Key[j].Greater+" "+values[j], "NOT "+names[j]+" "+t.Key[j].Less+" "+values[j])
		}
		parts = append(parts, names[i]+" "+t.Key[i].Greater+" "+values[i])
		ways = append(ways, "("+strings.Join(parts, " AND ")+")")
	}
	return "(" + strings.Join(ways, " OR ") + ")"
}
