package audit

// Op says what kind of thing a Change is. Its values are the message letters
// of the pgoutput protocol.
type Op byte

// The operations that can appear in a transaction.
const (
	Insert   Op = 'I'
	Update   Op = 'U'
	Delete   Op = 'D'
	Truncate Op = 'T'
	Logical  Op = 'M' // a logical message: a stamp, an event, or a stranger's
)

// String is the value of the entry column operation.
func (o Op) String() string {
	switch o {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	case Truncate:
		return "truncate"
	case Logical:
		return "message"
	}
	return "unknown"
}

// Relation is a table as the write-ahead log described it just before the
// changes that refer to it: names and columns are those of that time. A
// Relation is never modified after it was published; a change of the table
// makes a new one.
type Relation struct {
	ID       uint32 // OID in pg_class
	Schema   string
	Name     string
	Identity byte     // REPLICA IDENTITY: 'd' default, 'n' nothing, 'f' full, 'i' index
	Columns  []Column // in attribute order, dropped columns left out
	Key      []int    // indexes into Columns that name a row, in key order; empty when unknown

	// RootSchema and RootName name the partitioned table at the top, where this
	// one is a partition; else they are empty. Like Key they are of the catalog,
	// not of the log.
	RootSchema, RootName string
}

// Column is one column of a Relation.
type Column struct {
	Name       string
	TypeOID    uint32
	TypeMod    int32
	InIdentity bool // part of the replica identity; with identity 'f' every column is
}

// ValueKind tells how a column value came over the wire.
type ValueKind byte

// The kinds of values.
const (
	Absent    ValueKind = 0   // the tuple does not carry this column
	Null      ValueKind = 'n' // SQL NULL
	Unchanged ValueKind = 'u' // TOASTed and not rewritten: the value is not in the log
	Literal   ValueKind = 't' // text form
)

// Value is one column of a tuple. Data is the text form that PostgreSQL wrote,
// and belongs to the Feed it came in.
type Value struct {
	Kind ValueKind
	Data []byte
}

// Tuple is one row image, index for index with Relation.Columns; nil when the
// log holds no such image.
type Tuple []Value

// Message is a logical message (pg_logical_emit_message).
type Message struct {
	Prefix        string
	Content       []byte
	Transactional bool // false: written at once, survives a rollback, belongs to no transaction
}

// Change is one thing that a committed transaction did, in the order done.
type Change struct {
	Op       Op
	LSN      LSN       // of its write-ahead log record; not unique, see Position
	Relation *Relation // nil for Logical
	Old      Tuple     // before: nil, the replica identity columns, or the whole row
	OldWhole bool      // Old is the whole row (REPLICA IDENTITY FULL), not only its key
	New      Tuple     // after: nil for Delete and Truncate
	Message  *Message  // for Logical only

	Cascade         bool // Truncate: CASCADE was given
	RestartIdentity bool // Truncate: RESTART IDENTITY was given
}

// Tx is a committed transaction or, when it is large, one part of it: parts
// follow each other without anything between them, the first has First set and
// the last has Last set.
//
// A message that was written outside of any transaction travels as a Tx of its
// own with XID 0, CommitTime 0, EndLSN 0 and the position of the message as
// CommitLSN.
type Tx struct {
	XID        uint32
	CommitLSN  LSN   // of the commit record
	EndLSN     LSN   // behind the commit record: what may be acknowledged once stored; 0 unless Last
	CommitTime int64 // microseconds since 1970, UTC
	First      bool
	Last       bool
	Changes    []Change
}

// Feed is a run of consecutive transactions as they were read in one go. Its
// memory is handed over with it: the reader never touches it again.
type Feed struct {
	Txs   []Tx
	Bytes int // memory held, approximately; what back-pressure is counted in
}
