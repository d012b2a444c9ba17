package trail

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

const (
	// partRows is how many rows of a table are folded at a time. It is what
	// bounds memory: about a kilobyte for a row of ten columns.
	partRows = 200_000
	// maxParts bounds the number of passes over a table, and of open files.
	maxParts = 256
)

// Table is an audited table whose entries are folded.
type Table struct {
	Schema, Name string
	// Key lists the columns that resource_id was made of, in key order; none
	// for a table without a key.
	Key []string
	// Unique says that no two rows have the same key behind a commit.
	Unique bool

	Entries uint64 // changes of its rows in the trail
	Keys    uint64 // different resource_ids in them, about
	Partial uint64 // of the entries, those whose old row is not in the log
}

// String is the name with its schema.
func (t Table) String() string { return t.Schema + "." + t.Name }

// Review says which entries are folded.
type Review struct {
	Stream string
	Last   *uint64 // the last sequence; nil: to the end
	First  uint64  // the first one
	// Sees says whether a change is folded; nil: every one is. The entry has
	// its position and its transaction, no more.
	Sees func(*audit.Entry) bool
	// PartRows is the number of rows folded at a time; 0: 200,000. More take
	// several passes.
	PartRows uint64
	// Progress is told of entries that were read; it may be nil.
	Progress func(entries uint64)
}

// conditions are those of every query of a review.
func (r Review) conditions() conditions {
	var c conditions
	c.add("stream = {stream:String}", "stream", r.Stream)
	if r.Last != nil {
		c.add("sequence <= {last:UInt64}", "last", *r.Last)
	}
	if r.First > 0 {
		c.add("sequence >= {first:UInt64}", "first", r.First)
	}
	return c
}

// changesOf restricts c to the changes of the rows of a table.
func (c *conditions) changesOf(table Table) {
	c.add("schema_name = {schema:String}", "schema", table.Schema)
	c.add("table_name = {table:String}", "table", table.Name)
	c.parts = append(c.parts, "operation IN ('insert', 'update', 'delete', 'truncate', 'baseline')")
}

// Tables lists the tables that the trail has changes of, by name.
func (t *Trail) Tables(ctx context.Context, r Review) ([]Table, error) {
	c := r.conditions()
	c.parts = append(c.parts, "table_name IS NOT NULL AND operation IN ('insert', 'update', 'delete', 'truncate', 'baseline')")
	text := `SELECT ifNull(CAST(schema_name, 'Nullable(String)'), '') AS schema, ifNull(CAST(table_name, 'Nullable(String)'), '') AS name,
		count() AS entries, uniq(resource_id) AS keys, countIf(operation != 'insert' AND position(ifNull(attribution, ''), '"old_values":"unknown') > 0) AS partial
		FROM audit_logs` + c.where() + " GROUP BY schema, name ORDER BY schema, name"
	var schema, name proto.ColStr
	var entries, keys, partial proto.ColUInt64
	results := proto.Results{{Name: "schema", Data: &schema}, {Name: "name", Data: &name},
		{Name: "entries", Data: &entries}, {Name: "keys", Data: &keys}, {Name: "partial", Data: &partial}}
	var tables []Table
	err := t.receive(ctx, query{text, c.params}, results, func() error {
		for i := range entries {
			tables = append(tables, Table{Schema: schema.Row(i), Name: name.Row(i), Entries: entries[i], Keys: keys[i], Partial: partial[i]})
		}
		return nil
	})
	return tables, err
}

// Size is the number of entries of a stream: the last sequence and one.
func (t *Trail) Size(ctx context.Context, stream string) (size uint64, err error) {
	c := Review{Stream: stream}.conditions()
	var rows, last proto.ColUInt64
	results := proto.Results{{Name: "rows", Data: &rows}, {Name: "last", Data: &last}}
	text := "SELECT count() AS rows, max(sequence) AS last FROM audit_logs" + c.where()
	err = t.receive(ctx, query{text, c.params}, results, func() error {
		if rows[0] > 0 {
			size = last[0] + 1
		}
		return nil
	})
	return size, err
}

// parts says how the rows of a table are shared out, so that a few at a time
// are folded. A row whose key was changed belongs to several keys: all such
// rows are folded together, in a part of their own behind the others.
type parts struct {
	count int
	moved map[string]bool // keys that a row got or lost by an update
}

// all is the number of parts.
func (p parts) all() int {
	if len(p.moved) > 0 {
		return p.count + 1
	}
	return p.count
}

// of is the part that the rows of a key belong to.
func (p parts) of(key string) int {
	switch {
	case p.count == 1:
		return 0
	case p.moved[key]:
		return p.count
	}
	return int(crc32.ChecksumIEEE([]byte(key)) % uint32(p.count))
}

// share plans the parts of a table of about so many rows. A table without a key
// cannot be shared out.
func (t *Trail) share(ctx context.Context, r Review, table Table, rows uint64) (parts, error) {
	size := r.PartRows
	if size == 0 {
		size = partRows
	}
	n := (max(rows, table.Keys) + size - 1) / size
	if len(table.Key) == 0 || n <= 1 {
		return parts{count: 1}, nil
	}
	p := parts{count: int(min(n, maxParts)), moved: make(map[string]bool)}
	f := NewFold(table.Schema, table.Name, table.Key)
	c := r.conditions()
	c.changesOf(table)
	// Without the whole old row, the log has an old key only where it changed.
	c.add("operation = 'update' AND (hasAny(changed, splitByChar('\x00', {key:String})) OR empty(changed) AND old_values IS NOT NULL)",
		"key", joinNames(table.Key))
	err := t.changes(ctx, r, c, func(e *audit.Entry) error {
		before, after, err := f.keysOf(e)
		if err == nil && before != after {
			p.moved[before], p.moved[after] = true, true
		}
		return err
	})
	return p, err
}

// keysOf returns the key of a row before and after an update.
func (f *Fold) keysOf(e *audit.Entry) (before, after string, err error) {
	old, now, err := images(e)
	if err != nil {
		return "", "", err
	}
	if before, err = f.keyFrom(e, old, now); err != nil {
		return "", "", err
	}
	after, err = f.keyFrom(e, now, old)
	return before, after, err
}

// images reads both rows of an entry.
func images(e *audit.Entry) (old, now Row, err error) {
	if old, err = ParseRow(e.OldValues); err != nil {
		return nil, nil, fmt.Errorf("apply entry %d: old_values: %w", e.Sequence, err)
	}
	if now, err = ParseRow(e.NewValues); err != nil {
		return nil, nil, fmt.Errorf("apply entry %d: new_values: %w", e.Sequence, err)
	}
	return old, now, nil
}

// Review folds a table a part at a time, and lends each fold to use.
func (t *Trail) Review(ctx context.Context, r Review, table Table, use func(*Fold) error) error {
	p, err := t.share(ctx, r, table, 0)
	if err != nil {
		return fmt.Errorf("fold %s: %w", table, err)
	}
	return t.foldParts(ctx, r, table, p, func(_ int, f *Fold) error { return use(f) })
}

func (t *Trail) foldParts(ctx context.Context, r Review, table Table, p parts, use func(part int, f *Fold) error) error {
	for i := range p.all() {
		f, err := t.foldPart(ctx, r, table, p, i)
		if err != nil {
			return err
		}
		if err := use(i, f); err != nil {
			return err
		}
	}
	return nil
}

// foldPart folds the rows of one part.
func (t *Trail) foldPart(ctx context.Context, r Review, table Table, p parts, part int) (*Fold, error) {
	f := NewFold(table.Schema, table.Name, table.Key)
	f.unique = table.Unique
	f.owns = func(key string) bool { return p.of(key) == part }
	c := r.conditions()
	c.params = append(c.params, store.Param("schema", table.Schema), store.Param("table", table.Name))
	changes := "schema_name = {schema:String} AND table_name = {table:String}"
	if p.count > 1 && part < p.count {
		// A fold does not take what is not its own: this only spares the reading.
		c.params = append(c.params, store.Param("parts", p.count), store.Param("part", part))
		changes += " AND (resource_id IS NULL OR position(resource_id, 'pii:') > 0 OR CRC32(ifNull(resource_id, '')) % {parts:UInt32} = {part:UInt32})"
	}
	ddl := "operation = 'ddl'"
	if plainName(table.Name) { // so that it stands in the text of an entry as it is
		ddl += " AND position(ifNull(new_values, ''), {table:String}) > 0"
	}
	c.parts = append(c.parts, "(operation = 'event' AND resource_type IN ('pgwitness.stream', '"+baselineResource+"') OR "+ddl+" OR "+changes+")")
	if err := t.changes(ctx, r, c, f.Add); err != nil {
		return nil, fmt.Errorf("fold %s: %w", table, err)
	}
	f.End()
	return f, nil
}

// plainName reports whether a name needs no escape within SQL within JSON.
// Another one is not looked for in the text of DDL: all of it is read.
func plainName(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
