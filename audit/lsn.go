package audit

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log of PostgreSQL, in bytes since the
// beginning of the log. Zero means "no position".
type LSN uint64

// String renders the position as PostgreSQL does: 16/B374D848.
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}

// ParseLSN reads the form that String writes.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("parse LSN %q: want two hexadecimal numbers around a slash", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

// Position is the identity of a change within its stream: the LSN of the
// commit record of its transaction, and its ordinal among the entries of that
// transaction. An LSN alone would not do: a COPY puts hundreds of rows at one.
type Position struct {
	CommitLSN LSN
	Ordinal   uint32
}

// After reports whether p lies behind q in commit order.
func (p Position) After(q Position) bool {
	if p.CommitLSN != q.CommitLSN {
		return p.CommitLSN > q.CommitLSN
	}
	return p.Ordinal > q.Ordinal
}

// String renders the position for errors and logs: 0/16B3748#4.
func (p Position) String() string { return fmt.Sprintf("%s#%d", p.CommitLSN, p.Ordinal) }
