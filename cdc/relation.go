package cdc

import (
	"context"
	"fmt"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// KeySource knows what the log does not say of a table.
type KeySource interface {
	// Facts returns the key of a table, as transaction xid left it or later (if
	// that becomes visible within seconds), and the partitioned table above it. An
	// error ends the connection: a key is never guessed because the catalog did
	// not answer.
	Facts(ctx context.Context, xid, relid uint32, schema, table string) (Facts, error)
}

// Facts is what the catalog says of a table.
type Facts struct {
	// Key lists the columns of the primary key, in key order. It is empty for a
	// table without one and for a table that is not known any more; then the
	// columns of the replica identity are used.
	Key []string
	// RootSchema and RootName are the partitioned table at the top of the tree
	// that the table is a partition in; empty for others.
	RootSchema, RootName string
}

// relation reads a Relation message and puts the table in the place of what was
// known of it before. A table that has not changed keeps its *Relation, so that
// consumers can recognise it by the pointer; the key is asked for in any case,
// because a primary key can come and go without another sign.
func (d *decoder) relation(ctx context.Context, c *cursor, lsn audit.LSN, frame []byte) error {
	rel := &audit.Relation{
		ID:       c.uint32(),
		Schema:   string(c.string()),
		Name:     string(c.string()),
		Identity: c.byte(),
	}
	if rel.Schema == "" {
		rel.Schema = "pg_catalog" // the protocol abbreviates it
	}
	err := identity(rel.Identity)
	n := int(c.uint16())
	for i := 0; i < n && !c.short && err == nil; i++ {
		bits := c.byte()
		err = flags(bits, 1)
		rel.Columns = append(rel.Columns, audit.Column{
			InIdentity: bits == 1,
			Name:       string(c.string()),
			TypeOID:    c.uint32(),
			TypeMod:    int32(c.uint32()),
		})
	}
	if err := c.end(err); err != nil {
		return undecodable("description of a table", lsn, frame, err)
	}
	facts, err := d.keys.Facts(ctx, d.msg.xid, rel.ID, rel.Schema, rel.Name)
	if err != nil {
		return fmt.Errorf("find key of %s.%s at %s: %w", rel.Schema, rel.Name, lsn, err)
	}
	rel.Key = keyColumns(rel, facts.Key)
	rel.RootSchema, rel.RootName = facts.RootSchema, facts.RootName
	if known := d.relations[rel.ID]; known == nil || !same(known, rel) {
		d.relations[rel.ID] = rel
	}
	return nil
}

func identity(kind byte) error {
	switch kind {
	case 'd', 'n', 'f', 'i':
		return nil
	}
	return fmt.Errorf("a replica identity of type %q is not known", kind)
}

// keyColumns finds the columns of the key. Names that the table did not have at
// the time (the key was changed since) say nothing about it: then, as without
// names, the columns of the replica identity are the key, if it is one.
func keyColumns(rel *audit.Relation, names []string) []int {
	key := make([]int, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(rel.Columns, func(c audit.Column) bool { return c.Name == name })
		if i < 0 {
			break
		}
		key = append(key, i)
	}
	if len(names) > 0 && len(key) == len(names) {
		return key
	}
	key = nil
	if rel.Identity == 'd' || rel.Identity == 'i' {
		for i, c := range rel.Columns {
			if c.InIdentity {
				key = append(key, i)
			}
		}
	}
	return key
}

func same(a, b *audit.Relation) bool {
	return a.Schema == b.Schema && a.Name == b.Name && a.Identity == b.Identity &&
		a.RootSchema == b.RootSchema && a.RootName == b.RootName &&
		slices.Equal(a.Columns, b.Columns) && slices.Equal(a.Key, b.Key)
}
