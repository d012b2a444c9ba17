package cdc

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// Writers of the messages of pgoutput, for tests that need messages no server
// would send, or many. The real-server tests show that a server writes the same.

func be16(n int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func be64(n int64) []byte  { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
func cstr(s string) []byte { return append([]byte(s), 0) }

func msgBegin(commit audit.LSN, time int64, xid uint32) []byte {
	return slices.Concat([]byte{'B'}, be64(int64(commit)), be64(time-pgEpoch), be32(xid))
}

func msgCommit(commit, end audit.LSN, time int64) []byte {
	return slices.Concat([]byte{'C', 0}, be64(int64(commit)), be64(int64(end)), be64(time-pgEpoch))
}

func msgRelation(id uint32, schema, name string, identity byte, columns ...audit.Column) []byte {
	b := slices.Concat([]byte{'R'}, be32(id), cstr(schema), cstr(name), []byte{identity}, be16(len(columns)))
	for _, c := range columns {
		flag := byte(0)
		if c.InIdentity {
			flag = 1
		}
		b = slices.Concat(b, []byte{flag}, cstr(c.Name), be32(c.TypeOID), be32(uint32(c.TypeMod)))
	}
	return b
}

// msgTuple writes a tuple of values: nil is NULL, unchanged an unchanged TOAST
// value, a string its text.
func msgTuple(mark byte, values ...any) []byte {
	b := slices.Concat([]byte{mark}, be16(len(values)))
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case unchanged:
			b = append(b, 'u')
		case string:
			b = slices.Concat(b, []byte{'t'}, be32(uint32(len(v))), []byte(v))
		}
	}
	return b
}

type unchanged struct{}

func msgRow(op byte, id uint32, tuples ...[]byte) []byte {
	return slices.Concat([]byte{op}, be32(id), slices.Concat(tuples...))
}

func msgTruncate(options byte, ids ...uint32) []byte {
	b := slices.Concat([]byte{'T'}, be32(uint32(len(ids))), []byte{options})
	for _, id := range ids {
		b = append(b, be32(id)...)
	}
	return b
}

func msgLogical(transactional bool, lsn audit.LSN, prefix, content string) []byte {
	flag := byte(0)
	if transactional {
		flag = 1
	}
	return slices.Concat([]byte{'M', flag}, be64(int64(lsn)), cstr(prefix), be32(uint32(len(content))), []byte(content))
}

// fixedKeys is a KeySource of tables by name.
type fixedKeys map[string][]string

func (k fixedKeys) Facts(_ context.Context, _, _ uint32, schema, table string) (Facts, error) {
	return Facts{Key: k[schema+"."+table]}, nil
}

// orders is a table for tests: id and label, id in the identity.
func orders() []byte {
	return msgRelation(7, "public", "orders", 'd',
		audit.Column{Name: "id", TypeOID: 23, TypeMod: -1, InIdentity: true},
		audit.Column{Name: "label", TypeOID: 25, TypeMod: -1},
		audit.Column{Name: "note", TypeOID: 25, TypeMod: -1})
}
