package cdc

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// BenchmarkDecode is the way of a change from a frame in the socket's buffer to
// a feed, without the socket: ns, bytes and allocations per change.
func BenchmarkDecode(b *testing.B) {
	narrow := msgRow('I', 7, msgTuple('N', "1234567", "a label", "12.50"))
	wide := []any{}
	for i := range 12 {
		wide = append(wide, strings.Repeat("v", 10+3*i))
	}
	columns := make([]audit.Column, 12)
	for i := range columns {
		columns[i] = audit.Column{Name: fmt.Sprint("column_", i), TypeOID: 25, TypeMod: -1, InIdentity: true}
	}
	full := msgRow('U', 8, msgTuple('O', wide...), msgTuple('N', wide...))
	for name, bench := range map[string]struct {
		row   []byte
		perTx int
	}{
		"insert of 3 columns, 1 in a transaction":           {narrow, 1},
		"insert of 3 columns, 1000 in a transaction":        {narrow, 1000},
		"full update of 12 columns, 1 in a transaction":     {full, 1},
		"full update of 12 columns, 1000 in a transaction":  {full, 1000},
		"full update of 12 columns, 10⁶ in one transaction": {full, 1_000_000},
	} {
		b.Run(name, func(b *testing.B) {
			d, a := newDecoder(fixedKeys{}), &assembler{maxBytes: 4 << 20, maxChanges: 10_000}
			if err := feedFrames(d, a, orders(), msgRelation(8, "public", "wide", 'f', columns...)); err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			begin, commit := msgBegin(0, 1, 1), msgCommit(0, 0, 1)
			add := func(frame []byte) {
				m, err := d.decode(ctx, 1, frame)
				if err != nil {
					b.Fatal(err)
				}
				switch frame[0] {
				case 'B':
					m.commitLSN = a.last + 10
				case 'C':
					m.commitLSN, m.endLSN = a.last, a.last+5
				}
				if err := a.add(m); err != nil {
					b.Fatal(err)
				}
				if a.full() {
					a.take()
				}
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(bench.row)))
			for n := 0; b.Loop(); n++ {
				if n%bench.perTx == 0 {
					if n > 0 {
						add(commit)
					}
					add(begin)
				}
				add(bench.row)
			}
		})
	}
}
